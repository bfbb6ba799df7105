// Package memory collects garbage at the only moments when that can be done.
//
// While the agent hands something over it asks the plugin for room, and a plugin that is asked may call nobody. Go's collector reads the
// clock, which is such a call: one that begins by itself at that moment, or is under way, ends the plugin with "cannot leave component
// instance". So it never begins by itself, and is run to its end between two calls of the agent.
package memory

import (
	"runtime"
	"runtime/debug"

	wit "go.bytecodealliance.org/pkg/wit/runtime"
)

// Garbage that may lie about: small beside the 64 MiB that a plugin has unless its operator says otherwise.
const allowance = 8 << 20

var left uint64

func init() { debug.SetGCPercent(-1) }

// Tend collects when enough has been made since the last time. It belongs before every call of the agent that returns much; a check that
// makes much without calling the agent calls it as well.
func Tend() {
	// What the agent has handed over is held fast until here. By now it is held by whoever uses it, or is garbage.
	wit.Unpin()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	if stats.HeapAlloc > left+allowance {
		runtime.GC()
		runtime.ReadMemStats(&stats)
		left = stats.HeapAlloc
	}
}

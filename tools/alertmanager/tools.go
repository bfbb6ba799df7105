//go:build tools

// Package tools names the programs that tools/install.sh builds from this module.
package tools

import (
	_ "github.com/prometheus/alertmanager/cmd/alertmanager"
)

package holdfast

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// Outcome is the verdict, in the words of the contract.
type Outcome string

const (
	Passed       Outcome = "passed"
	Failed       Outcome = "failed"
	Inconclusive Outcome = "inconclusive"
)

// Finding is one thing that was found. Severity is info, warning or error; alerts go by the code.
type Finding struct {
	Severity, Code, Message string
	// What it is about; nil for nothing in particular.
	Key        []byte
	Attributes []Pair
}

// Measurement is a number that becomes a metric.
type Measurement struct {
	Name       string
	Value      float64
	Unit       string
	Attributes []Pair
}

// namedOfACode: a damaged snapshot can break a rule a million times. The first are named, the rest is counted.
const namedOfACode = 100

// Report is what a verifier answers. The outcome follows from what was found: an error fails it. Never put a value into it: values are
// Secrets, and reports are kept, logged and sent.
type Report struct {
	// One line that can stand alone: how it stands, and the first thing to look at.
	Summary string
	// What is kept beside the backup and given back with the next one, for a plugin that Remembers.
	Memo         string
	findings     []Finding
	measurements []Measurement
	seen         map[[2]string]int
	order        [][2]string
	undecided    bool
}

// Info is worth knowing. Of each code the first 100 findings are named. A nil key is about nothing in particular.
func (r *Report) Info(code string, key []byte, format string, arguments ...any) {
	r.add("info", code, key, format, arguments)
}

// Warning should be looked at; it does not fail the verification.
func (r *Report) Warning(code string, key []byte, format string, arguments ...any) {
	r.add("warning", code, key, format, arguments)
}

// Error is a reason to fail.
func (r *Report) Error(code string, key []byte, format string, arguments ...any) {
	r.add("error", code, key, format, arguments)
}

// Undecided: something could not be checked. Without an error elsewhere the report is inconclusive.
func (r *Report) Undecided(code string, key []byte, format string, arguments ...any) {
	r.undecided = true
	r.add("warning", code, key, format, arguments)
}

func (r *Report) add(severity, code string, key []byte, format string, arguments []any) {
	if r.seen == nil {
		r.seen = map[[2]string]int{}
	}
	of := [2]string{severity, code}
	if r.seen[of] == 0 {
		r.order = append(r.order, of)
	}
	r.seen[of]++
	if r.seen[of] <= namedOfACode {
		finding := Finding{Severity: severity, Code: code, Message: fmt.Sprintf(format, arguments...), Key: slices.Clone(key)}
		r.findings = append(r.findings, finding)
	}
}

// Measure adds a number; attributes tell several of one name apart.
func (r *Report) Measure(name string, value float64, unit string, attributes ...Pair) {
	r.measurements = append(r.measurements, Measurement{name, value, unit, attributes})
}

// Count says how many findings of a code there were, named or not.
func (r *Report) Count(code string) int {
	count := 0
	for of, seen := range r.seen {
		if of[1] == code {
			count += seen
		}
	}
	return count
}

// Outcome follows from what was found so far.
func (r *Report) Outcome() Outcome {
	for of := range r.seen {
		if of[0] == "error" {
			return Failed
		}
	}
	if r.undecided {
		return Inconclusive
	}
	return Passed
}

// Findings are errors first, then how many are not named.
func (r *Report) Findings() []Finding {
	findings := slices.Clone(r.findings)
	weight := map[string]int{"error": 0, "warning": 1, "info": 2}
	slices.SortStableFunc(findings, func(a, b Finding) int { return cmp.Compare(weight[a.Severity], weight[b.Severity]) })
	for _, of := range r.order {
		if more := r.seen[of] - namedOfACode; more > 0 {
			findings = append(findings, Finding{
				Severity:   of[0],
				Code:       "more-findings",
				Message:    fmt.Sprintf("%d more of `%s` are not listed", more, of[1]),
				Attributes: []Pair{{"of", of[1]}, {"count", strconv.Itoa(more)}},
			})
		}
	}
	return findings
}

// Measurements as they were added.
func (r *Report) Measurements() []Measurement { return r.measurements }

// Context is what is known of the run by name: cluster, backup-id, time, session, and what the contract adds.
type Context map[string]string

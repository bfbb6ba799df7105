// Package answer makes of a report what the contract asks for.
package answer

import (
	witTypes "go.bytecodealliance.org/pkg/wit/types"

	contract "example.com/{{name}}/agent/holdfast_{{kind}}_{{call}}"
	"example.com/{{name}}/holdfast"
)

// Of is a report in the words of the contract.
func Of(report *holdfast.Report) contract.Report {
	outcomes := map[holdfast.Outcome]contract.Outcome{
		holdfast.Passed:       contract.Outcome_Passed,
		holdfast.Failed:       contract.Outcome_Failed,
		holdfast.Inconclusive: contract.Outcome_Inconclusive,
	}
	given := contract.Report{Outcome: outcomes[report.Outcome()], Summary: report.Summary}
	for _, finding := range report.Findings() {
		key := witTypes.None[[]uint8]()
		if finding.Key != nil {
			key = witTypes.Some(finding.Key)
		}
		given.Findings = append(given.Findings, contract.Finding{
			Severity: finding.Severity, Code: finding.Code, Message: finding.Message, Key: key, Attributes: pairs(finding.Attributes),
		})
	}
	for _, number := range report.Measurements() {
		given.Measurements = append(given.Measurements, contract.Measurement{
			Name: number.Name, Value: number.Value, Unit: number.Unit, Attributes: pairs(number.Attributes),
		})
	}
	if report.Memo != "" {
		given.Attributes = pairs([]holdfast.Pair{{Name: "memo", Value: report.Memo}})
	}
	return given
}

func pairs(of []holdfast.Pair) []witTypes.Tuple2[string, string] {
	var pairs []witTypes.Tuple2[string, string]
	for _, pair := range of {
		pairs = append(pairs, witTypes.Tuple2[string, string]{F0: pair.Name, F1: pair.Value})
	}
	return pairs
}

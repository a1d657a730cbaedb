package server

// streamPath is the operation of an upgrade.
const streamPath = "get /v1/stream"

// streamFaults are those of an upgrade.
var streamFaults = []*fault{faultHandshake, faultUpgrade, faultContract, faultModel, faultVersion, faultNotReady, faultDraining, faultStreams, faultSessions}

// addStream describes an upgrade to a stream.
func addStream(op object) {
	flag := object{"type": "boolean"}
	name := object{"type": "string", "pattern": namePattern}
	parameter := func(name, about string, schema object) object {
		return object{"name": name, "in": "query", "description": about, "schema": schema}
	}
	op["parameters"] = []any{
		parameter("model", "Absent: the default one.", name),
		parameter("version", "Absent: the one that answers for the model.", name),
		parameter("deterministic", "Of the messages that do not say it themselves. Absent: the policy's default.", flag),
		parameter("seed", "Of the draws of stochastic actions. Absent: one is drawn.", object{"type": "integer", "minimum": 0, "maximum": maxSafeInteger}),
	}
}

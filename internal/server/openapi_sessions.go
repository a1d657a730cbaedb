package server

import (
	"maps"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// addSessionSchemas adds those of the bodies of sessions, which are those of
// predictions with what a session adds and takes away.
func addSessionSchemas(schemas object) {
	text, whole, number := object{"type": "string"}, object{"type": "integer"}, object{"type": "number"}
	name := object{"type": []any{"string", "null"}, "pattern": namePattern}
	seed := object{"type": []any{"integer", "null"}, "minimum": 0, "maximum": maxSafeInteger, "description": "Of the draws of stochastic actions. Absent or null: one is drawn, or stays what it was."}
	schemas["OpenSession"] = object{"type": "object", "additionalProperties": false, "properties": object{
		"model": name, "version": name, "id": name, "seed": seed,
		"deterministic": object{"type": []any{"boolean", "null"}, "description": "Of the acts that do not say it themselves. Absent or null: the policy's default."},
		"ttl_s":         object{"type": []any{"number", "null"}, "exclusiveMinimum": 0, "description": "Seconds without a request after which the session ends."},
	}}
	schemas["ResetSession"] = object{"type": "object", "additionalProperties": false, "properties": object{"seed": seed}}
	schemas["Session"] = form(object{
		"session_id": text, "model": text, "version": text, "step": whole, "episode": whole, "seed": whole,
		"deterministic": object{"type": "boolean"}, "ttl_s": number, "expires_at": number,
	})
	add(schemas["Session"].(object), object{"digest": text})

	schemas["Outcome"] = object{"type": "object", "additionalProperties": false, "minProperties": 1, "properties": object{
		"step":       object{"type": []any{"integer", "null"}, "minimum": 0, "description": "The step that it is of. Absent or null: the last one."},
		"reward":     object{"type": []any{"number", "null"}},
		"terminated": object{"type": []any{"boolean", "null"}, "description": "The episode ended by itself."},
		"truncated":  object{"type": []any{"boolean", "null"}, "description": "The episode was cut off."},
		"info":       object{"description": "Anything, of 16 KiB at most."},
	}}
	schemas["OutcomeAnswer"] = form(object{"session_id": text, "step": whole, "recorded": object{"type": "boolean"}})
	schemas["Steps"] = form(object{"steps": object{"type": "array", "items": object{"type": "object", "additionalProperties": true}}})

	act := maps.Clone(schemas["PredictRequest"].(object))
	properties := maps.Clone(act["properties"].(object))
	for _, member := range []string{"seed", "row", "state"} {
		delete(properties, member)
	}
	properties["observation"] = object{"anyOf": []any{ref("Observation")}, "description": "In place of observations with one row."}
	properties["step"] = object{"type": "integer", "minimum": 0, "description": "The step that the session must be at: 409 where it is at another."}
	if masks, ok := properties["action_masks"].(object); ok {
		properties["action_masks"] = object{"anyOf": []any{masks["items"], masks}}
	}
	act["properties"] = properties
	delete(act, "required")
	act["oneOf"] = []any{}
	for _, member := range []string{"observation", "observations", "obs"} {
		if properties[member] != nil {
			act["oneOf"] = append(act["oneOf"].([]any), object{"required": []any{member}})
		}
	}
	schemas["ActRequest"] = act

	answer := maps.Clone(schemas["Prediction"].(object))
	answer["properties"] = maps.Clone(answer["properties"].(object))
	answer["required"] = append(slices.Clone(answer["required"].([]string)), "session_id", "step", "episode")
	add(answer, object{
		"session_id": text, "step": object{"type": "integer", "description": "Of this act, from 0."}, "episode": object{"type": "integer"},
		"reset": object{"type": "string", "enum": []any{"version"}, "description": "The episode began again, because another version took over."},
	})
	schemas["ActAnswer"] = answer
}

// sessionBodies are the schemas of request bodies, by that of the answer and
// the route.
var sessionBodies = map[string]string{
	"/admin/reload": "AdminAct", "/admin/rollback": "AdminAct",
	"/v1/sessions": "OpenSession", "/v1/sessions/{id}/reset": "ResetSession", "/v1/sessions/{id}/act": "ActRequest",
	"/v1/sessions/{id}/outcome": "Outcome",
}

// addSessionBody describes the body of a request of a session's route.
func addSessionBody(op object, e *endpoint, c *policy.Contract) {
	schema := sessionBodies[e.template]
	if schema == "" {
		return
	}
	var body object
	switch schema {
	case "OpenSession":
		body = object{"seed": 7}
	case "Outcome":
		body = object{"reward": 0.5, "terminated": false}
	case "ResetSession", "AdminAct":
		body = object{}
	default:
		body = object{}
		if rows := example(c)["observations"].([]any); len(rows) > 0 {
			body["observation"] = rows[0]
		}
	}
	content := object{"application/json": object{"schema": ref(schema), "example": body}}
	if schema == "ActRequest" {
		content["application/msgpack"] = object{"schema": ref(schema)}
	}
	op["requestBody"] = object{"required": schema == "ActRequest" || schema == "Outcome", "content": content}
}

// success is the status of a request that went well.
func success(method string, e *endpoint) string {
	switch {
	case method == "post" && e.template == sessionsPath:
		return "201"
	case method == "delete":
		return "204"
	case method+" "+e.template == streamPath:
		return "101"
	}
	return "200"
}

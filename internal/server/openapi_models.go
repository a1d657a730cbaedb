package server

import "maps"

// modelSchema is that of modelInfo.
func modelSchema() object {
	text, boolean := object{"type": "string"}, object{"type": "boolean"}
	version := form(object{"version": text, "state": text, "ready": boolean, "stable": boolean})
	add(version, object{"reason": text, "digest": text})
	model := form(object{"name": text, "default": boolean, "ready": boolean, "versions": object{"type": "array", "items": version}})
	add(model, object{"current": object{"type": "string", "description": "The version that answers where none is named."}})
	return model
}

// metadataSchema is that of metadata.
func metadataSchema() object {
	text, boolean, integer := object{"type": "string"}, object{"type": "boolean"}, object{"type": "integer"}
	bound := object{"type": []any{"number", "null"}, "description": "Null is no bound."}
	sizes := object{"type": "array", "items": integer}
	space := form(object{"type": object{"type": "string", "enum": []any{"Box", "Discrete", "MultiDiscrete", "MultiBinary"}}, "shape": sizes, "dtype": text})
	bounds := object{"type": []any{"number", "null", "array"}, "description": "One for all values, or a list with one for each in row-major order; null is no bound."}
	add(space, object{"low": bounds, "high": bounds, "n": integer, "start": integer, "nvec": sizes})
	feature := form(object{"name": text, "shape": sizes, "low": bound, "high": bound})
	add(feature, object{"unit": text, "image": boolean, "channels": object{"type": "string", "enum": []any{"first", "last"}}, "space": space})
	action := form(object{"shape": sizes, "low": bound, "high": bound, "discrete": boolean})
	add(action, object{"name": text, "space": space})
	limit := form(object{"action": text, "low": bound, "high": bound})
	add(limit, object{"rate": object{"type": "number"}, "jerk": object{"type": "number"}})
	part := form(object{"name": text, "shape": sizes})
	m := form(object{
		"modelName": text, "version": text, "device": text, "inputShape": sizes, "actionSpace": object{"type": "object"},
		"observation": object{"type": "array", "items": feature}, "action": object{"type": "array", "items": action},
		"named": boolean, "stochastic": boolean, "deterministicDefault": boolean, "name": text, "ready": boolean, "batchable": boolean, "maxRows": integer,
		"recurrent": boolean, "return": object{"type": "array", "items": text},
		"state":    orNull(form(object{"width": integer, "parts": object{"type": "array", "items": part}})),
		"masks":    orNull(form(object{"width": integer, "parts": sizes})),
		"envelope": orNull(form(object{"limits": object{"type": "array", "items": limit}, "fallback": text})),
	})
	add(m, object{
		"digest": text, "frameStack": integer, "controlHz": object{"type": "number"}, "distribution": text,
		"onVersionChange": object{"type": "string", "enum": []any{"drain", "reset"}},
	})
	return m
}

// reloadedSchema is that of Reloaded.
func reloadedSchema() object {
	s := form(object{"result": resultSchema(), "took_ms": object{"type": "number"}, "models": object{"type": "array", "items": ref("ModelChange")}})
	add(s, object{"error": object{"type": "string", "description": "Why the artifact root could not be looked at."}})
	return s
}

// changeSchema is that of ModelChange.
func changeSchema() object {
	text := object{"type": "string"}
	s := form(object{"model": text, "result": resultSchema()})
	add(s, object{
		"version": text, "digest": text, "before": text, "before_digest": text, "loaded": object{"type": "array", "items": text},
		"refused": object{"type": "array", "items": form(object{"version": text, "reason": text})},
	})
	return s
}

func resultSchema() object {
	return object{"type": "string", "enum": []any{"unchanged", "changed", "failed"}}
}

// add adds members that need not be there to the schema of an object.
func add(schema, properties object) {
	maps.Copy(schema["properties"].(object), properties)
}

// orNull is the schema of an object or null.
func orNull(schema object) object {
	schema["type"] = []any{"object", "null"}
	return schema
}

package server

import (
	"maps"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// schemas2 are the schemas of the Open Inference Protocol's bodies.
func schemas2() object {
	text, boolean := object{"type": "string"}, object{"type": "boolean"}
	list := func(items any) object { return object{"type": "array", "items": items} }
	whole := object{"type": "integer"}
	names := make([]any, len(datatypes))
	for i := range datatypes {
		names[i] = datatypes[i].name
	}
	kind := object{"type": "string", "enum": names}
	described := form(object{"name": text, "datatype": kind, "shape": list(whole)})
	with := func(base object, extra object) object {
		maps.Copy(base["properties"].(object), extra)
		base["additionalProperties"] = false
		return base
	}
	data := object{"type": "array", "description": "Row by row: flat, or nested as the shape says."}
	return object{
		"InferError":     form(object{"error": text}),
		"ServerMetadata": form(object{"name": text, "version": text, "extensions": list(text)}),
		"Live":           form(object{"live": boolean}),
		"Ready":          form(object{"ready": boolean, "live": boolean}),
		"ModelReady":     form(object{"name": text, "ready": boolean}),
		"ModelMetadata":  form(object{"name": text, "versions": list(text), "platform": text, "inputs": list(described), "outputs": list(described)}),
		"InferRequest": with(form(object{
			"inputs": list(with(form(object{"name": text, "shape": list(whole), "datatype": kind}), object{
				"data": data,
				"parameters": with(form(object{}), object{
					"binary_data_size": object{"type": "integer", "description": "In place of data: bytes of this tensor behind the JSON text."},
					"content_type":     object{"type": "string", "description": "Not used."},
				}),
			})),
		}), object{
			"id":         object{"type": []any{"string", "null"}, "description": "Comes back in the answer."},
			"model_name": object{"type": []any{"string", "null"}, "description": "The model of the path again."},
			"parameters": with(form(object{}), object{
				"deterministic":      object{"type": "boolean", "description": "Absent: the policy's default."},
				"seed":               object{"type": "integer", "minimum": 0, "description": "Of the draws of a stochastic action. Absent: one is drawn, and the answer tells it."},
				"sequence_id":        object{"type": []any{"integer", "string"}, "description": "The sequence that the one row belongs to; 0 or an empty string for none."},
				"sequence_start":     object{"type": "boolean", "description": "The first request of the sequence."},
				"sequence_end":       object{"type": "boolean", "description": "The last request of the sequence."},
				"priority":           object{"type": "integer", "minimum": 0, "description": "Class in the queue: 1 for control, 2 or more for batch. 0 or absent: control for one row, batch for several."},
				"binary_data_output": object{"type": "boolean", "description": "Outputs that do not say otherwise are answered in binary."},
			}),
			"outputs": list(with(form(object{"name": text}), object{"parameters": with(form(object{}), object{"binary_data": boolean})})),
		}),
		"InferResponse": with(form(object{
			"model_name": text, "model_version": text,
			"parameters": with(form(object{"deterministic": boolean}), object{
				"seed": whole, "interventions": text, "unheld": text, "sequence_id": object{"type": []any{"integer", "string"}}, "step": whole, "reset": text,
			}),
			"outputs": list(with(form(object{"name": text, "datatype": kind, "shape": list(whole)}), object{
				"data": data, "parameters": form(object{"binary_data_size": whole}),
			})),
		}), object{"id": text}),
	}
}

// example2 is example as tensors.
func example2(c *policy.Contract) object {
	inputs := []any{}
	if c != nil {
		for i := range c.Features {
			f := &c.Features[i]
			inputs = append(inputs, object{
				"name": inputName(c, i), "datatype": "FP32", "shape": append([]int{1}, f.Shape...),
				"data": exampleValues([]int{f.Size}, middle(f)),
			})
		}
	}
	return object{"inputs": inputs, "parameters": object{"deterministic": true}}
}

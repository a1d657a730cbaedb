package server

import (
	"maps"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/dtype"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// predictionSchemas are those of a request for actions and of its answer. c is
// the contract of the policy that answers now, nil where there is none.
func (s *Server) predictionSchemas(c *policy.Contract) object {
	observation, action := object{}, object{}
	request := s.requestSchema(c)
	if c != nil {
		observation, action = observationSchema(c), actionSchema(c)
	}
	return object{
		"Observation": observation, "Action": action, "PredictRequest": request, "PackedValues": packedSchema(),
		"Prediction": predictionSchema(c), "Intervention": interventionSchema(),
	}
}

// requestSchema is that of a body of POST /predict.
func (s *Server) requestSchema(c *policy.Contract) object {
	properties := object{
		"observations":  object{"type": "array", "minItems": 1, "maxItems": s.limits.MaxRows, "items": ref("Observation")},
		"deterministic": object{"type": []any{"boolean", "null"}, "description": "Absent or null: the policy's default."},
		"seed":          wholeSchema("Of the draws of stochastic actions. Absent: one is drawn, and told in the answer."),
		"step":          wholeSchema("Of the draws, with the seed: the same seed, step and row draw the same, in any batch."),
		"row":           wholeSchema("Number of the first observation, for the draws."),
		"state":         object{"type": []any{"string", "null"}, "description": "Of a policy that keeps state: null where all episodes begin, then the state of the answer before."},
		"episode_start": object{"type": []any{"boolean", "array"}, "items": object{"type": "boolean"}, "description": "Whether an episode begins with the observation: one for all rows, or one for each."},
		"return":        object{"type": "array", "items": object{"type": "string"}, "description": "What the answer is to have beside its actions."},
		"deadline_ms":   object{"type": "number", "exclusiveMinimum": 0, "description": "Milliseconds from observed_at, or from the arrival of the request, after which an answer is of no use."},
		"priority":      object{"enum": []any{"control", "batch"}, "description": "Class in the queue. Absent: control for one observation, batch for several. One of batch waits until none of control does."},
		"observed_at":   object{"type": "number", "exclusiveMinimum": 0, "description": "When the observation was made, in seconds since 1970."},
	}
	request := object{"type": "object", "additionalProperties": false, "properties": properties, "required": []any{"observations"}}
	if c == nil {
		return request
	}
	if names := returnable(c); len(names) > 0 {
		properties["return"].(object)["items"] = object{"type": "string", "enum": names}
	}
	if c.Masks > 0 {
		properties["action_masks"] = object{
			"type": "array", "minItems": 1, "maxItems": s.limits.MaxRows, "description": "Of each observation, which actions may be taken.",
			"items": object{"type": "array", "minItems": c.Masks, "maxItems": c.Masks, "items": object{"enum": []any{true, false, 0, 1}}},
		}
	}
	required := []any{}
	if len(c.State) > 0 {
		required = append(required, "state")
	}
	if c.Named {
		request["required"] = append(required, "observations")
		return request
	}
	// The same under another name, nested to the network's own shape.
	f := &c.Features[0]
	one := featureSchema(f, f.Shape)
	properties["obs"] = object{"anyOf": []any{one, object{"type": "array", "minItems": 1, "maxItems": s.limits.MaxRows, "items": one}}}
	delete(request, "required")
	if len(required) > 0 {
		request["required"] = required
	}
	request["oneOf"] = []any{object{"required": []any{"observations"}}, object{"required": []any{"obs"}}}
	return request
}

func wholeSchema(description string) object {
	return object{"type": "integer", "minimum": 0, "maximum": maxSafeInteger, "description": description}
}

// packedSchema is that of values that come as bytes.
func packedSchema() object {
	names := []any{}
	for _, name := range dtype.Names() {
		names = append(names, name)
	}
	return object{
		"type": "object", "additionalProperties": false, "required": []any{"base64"},
		"description": "Values as little-endian bytes.",
		"properties": object{
			"base64": object{"type": "string", "contentEncoding": "base64"},
			"dtype":  object{"type": "string", "enum": names, "description": "Absent: uint8 of an image, else float32."},
			"shape":  object{"type": "array", "items": object{"type": "integer"}, "description": "That of the contract, or of an image with its channels first."},
		},
	}
}

// predictionSchema is that of act.appendAnswer.
func predictionSchema(c *policy.Contract) object {
	number, text := object{"type": "number"}, object{"type": "string"}
	milliseconds := object{"type": "number", "minimum": 0}
	schema := form(object{
		"actions": object{"type": "array", "items": ref("Action")},
		"version": text, "model": text, "timingMs": number, "deterministic": object{"type": "boolean"},
		"timing": form(object{"queue_ms": milliseconds, "preprocess_ms": milliseconds, "infer_ms": milliseconds, "postprocess_ms": milliseconds}),
	})
	add(schema, object{
		"seed":          wholeSchema("What the actions were drawn with, where they were drawn."),
		"state":         object{"type": "string", "description": "Of a policy that keeps state: what goes with the next request."},
		"reset":         object{"type": "string", "enum": []any{"version"}, "description": "The episode began again, because another version took over."},
		"age_ms":        object{"type": "number", "minimum": 0, "description": "Between observed_at and the arrival of the request."},
		"interventions": object{"type": "array", "items": ref("Intervention"), "description": "What the envelope of the policy changed."},
		"unheld":        object{"type": "array", "items": object{"type": "string", "enum": []any{"rate", "jerk"}}, "description": "Limits of the envelope that the action was not held to, as the request is of no stream."},
	})
	if c != nil {
		returned := object{}
		for i := range c.Extras {
			addReturned(returned, c, &c.Extras[i])
		}
		add(schema, returned)
	}
	return schema
}

// addReturned describes an extra in the answer: rows of its values, or of
// objects of the parts that have one name.
func addReturned(returned object, c *policy.Contract, e *policy.ExtraSpec) {
	head := extraHead(e)
	values := nullableValues(e.Shape)
	if head == e.Name {
		returned[head] = object{"type": "array", "items": values}
		return
	}
	if returned[head] == nil {
		row := form(object{})
		if head == "distribution" {
			row = form(object{"kind": object{"type": "string", "enum": []any{c.Distribution}}})
		}
		returned[head] = object{"type": "array", "items": row}
	}
	row := returned[head].(object)["items"].(object)
	properties := maps.Clone(row["properties"].(object))
	properties[e.Name[len(head)+1:]] = values
	maps.Copy(row, form(properties))
}

// nullableValues is the schema of numbers nested to a shape, null where JSON
// cannot say one.
func nullableValues(shape []int) object {
	if len(shape) == 0 {
		return object{"type": []any{"number", "null"}}
	}
	return object{"type": "array", "minItems": shape[0], "maxItems": shape[0], "items": nullableValues(shape[1:])}
}

// predictBody describes the bodies that POST /predict takes.
func predictBody(c *policy.Contract) object {
	return object{
		"required": true,
		"content": object{
			"application/json":    object{"schema": ref("PredictRequest"), "example": example(c)},
			"application/msgpack": object{"schema": ref("PredictRequest")},
			"application/octet-stream": object{"schema": object{
				"type": "string", "format": "binary",
				"description": "The observations of a policy with one input, one after another: uint8 of an image, else float32, little-endian. All else is in the query.",
			}},
		},
	}
}

// octetParameters are those of the query beside raw bytes.
func octetParameters() []any {
	list := []any{}
	for _, name := range octetNames {
		list = append(list, object{
			"name": name, "in": "query", "required": false, "schema": object{"type": "string"},
			"description": "Of a body of raw bytes: the member of the JSON body, as JSON; state and the names of return without quotes.",
		})
	}
	return list
}

func observationSchema(c *policy.Contract) object {
	if !c.Named {
		f := &c.Features[0]
		flat := numbersSchema(f, []int{f.Size})
		if len(f.Shape) == 1 {
			return featureSchema(f, f.Shape)
		}
		return object{"anyOf": []any{flat, featureSchema(f, f.Shape)}}
	}
	properties := object{}
	for i := range c.Features {
		f := &c.Features[i]
		properties[f.Name] = featureSchema(f, f.Shape)
	}
	o := form(properties)
	o["additionalProperties"] = false
	return o
}

// featureSchema is the schema of a feature: its values nested to a shape or,
// where it has several, as bytes.
func featureSchema(f *policy.Feature, shape []int) object {
	numbers := numbersSchema(f, shape)
	if len(f.Shape) == 0 {
		return numbers
	}
	forms := []any{numbers, ref("PackedValues")}
	if f.Image {
		forms = append(forms, numbersSchema(f, []int{f.Shape[2], f.Shape[0], f.Shape[1]}))
	}
	if pixels(f) {
		forms = append(forms, object{"type": "string", "contentEncoding": "base64"})
	}
	return object{"anyOf": forms}
}

// numbersSchema is that of a feature's values. Those without a bound of their
// own are bounded by what a float32 can hold.
func numbersSchema(f *policy.Feature, shape []int) object {
	return valuesSchema(shape, "number", max(f.Low, -math.MaxFloat32), min(f.High, math.MaxFloat32), f.Unit)
}

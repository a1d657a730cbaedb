package server

import (
	"fmt"
	"maps"
	"sort"
	"strconv"
	"strings"
	"weak"

	"github.com/go-json-experiment/json"
	"github.com/valyala/fasthttp"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// object is a JSON object of the API description.
type object map[string]any

// openAPI answers the description of the API, in OpenAPI 3.1. The schemas of
// observations and actions are those of the policy that answers /predict now.
// It is made once for that policy.
func (x *exchange) openAPI() error {
	d, err := x.s.descriptionNow()
	if err != nil {
		return err
	}
	x.json(fasthttp.StatusOK, d.body)
	return nil
}

// descriptionNow returns the description for the policy that answers /predict now.
func (s *Server) descriptionNow() (*description, error) {
	var c *policy.Contract
	if t, err := s.backend.Resolve("", ""); err == nil {
		c = t.Contract
	}
	made := describedFor{weak.Make(c), s.o.Keys.asksForMetrics()}
	d := s.described.Load()
	if d == nil || d.of != made {
		body, err := json.Marshal(s.describeAPI(c), json.Deterministic(true))
		if err != nil {
			return nil, fmt.Errorf("encode the answer: %w", err)
		}
		d = &description{made, body}
		s.described.Store(d)
	}
	return d, nil
}

// description is the answer to GET /openapi.json.
type description struct {
	of   describedFor
	body []byte
}

// describedFor is what the description depends on besides the options. It does not
// hold the contract, which would keep the whole of a version that was replaced
// in memory.
type describedFor struct {
	contract weak.Pointer[policy.Contract] // that answers /predict, nil where none does
	keyed    bool                          // /metrics asks for a key
}

// describeAPI describes the API for the contract that answers /predict; nil where
// none does.
func (s *Server) describeAPI(c *policy.Contract) object {
	paths := object{}
	for _, e := range s.routes.endpoints {
		if e.page {
			continue
		}
		item := object{}
		if p := pathParameters(e.template); p != nil {
			item["parameters"] = p
		}
		for method, h := range map[string]handlerFunc{"get": e.get, "post": e.post, "delete": e.del} {
			if h != nil {
				item[method] = s.operation(method, e, c)
			}
		}
		paths[e.template] = item
	}
	doc := object{
		"openapi": "3.1.0",
		"info": object{
			"title":       "carla-rl-serving",
			"description": "Observations in, actions out: a server for trained driving and robot policies.",
			"version":     s.o.Version,
			"license":     object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"servers":    []any{object{"url": "/"}},
		"paths":      paths,
		"components": object{"schemas": s.schemas(c), "securitySchemes": securitySchemes},
	}
	return doc
}

var securitySchemes = object{
	"apiKey": object{"type": "apiKey", "in": "header", "name": "X-API-Key"},
	"bearer": object{"type": "http", "scheme": "bearer", "description": "The API key; the scheme Api-Key is taken as well."},
}

// told is what the description says of a route beyond its form.
type told struct {
	id, summary, tag string
	schema           string   // of the 200 answer; empty for text
	faults           []*fault // besides those of every route
}

var descriptions = map[string]told{
	"get /healthz":   {"healthz", "Whether the process answers; always 200, with the state in the body.", "health", "Health", nil},
	"get /livez":     {"livez", "Whether requests are read and answered.", "health", "Status", nil},
	"get /readyz":    {"readyz", "Whether requests should be sent here.", "health", "Status", []*fault{faultNotReady}},
	"get /startupz":  {"startupz", "Whether the first attempt to load the models has ended.", "health", "Status", []*fault{faultNotReady}},
	"get /metrics":   {"metrics", "Metrics in the Prometheus text format.", "health", "", []*fault{faultScrapes}},
	"get /metadata":  {"metadata", "The contract of the policy that answers /predict.", "models", "Metadata", []*fault{faultNotReady}},
	"get /v1/models": {"models", "The models and their versions.", "models", "Models", nil},
	"get /v1/models/{model}": {
		"modelMetadata", "The contract of the default version of a model.", "models", "Metadata", v2Faults},
	"get /v1/models/{model}/versions/{version}": {
		"versionMetadata", "The contract of one version of a model.", "models", "Metadata", v2Faults},
	"post /v1/sessions": {
		"openSession", "Begin a session: the state of one stream of observations, which the server keeps.", "sessions", "Session",
		[]*fault{faultMalformed, faultLength, faultTooLarge, faultMediaType, faultContract, faultModel, faultVersion, faultNotReady, faultSessionExists, faultSessions}},
	"get /v1/sessions/{id}":    {"session", "What there is to know of a session.", "sessions", "Session", []*fault{faultSession}},
	"delete /v1/sessions/{id}": {"closeSession", "End a session.", "sessions", "", []*fault{faultSession}},
	"post /v1/sessions/{id}/act": {
		"sessionAct", "The action for the next observation of a session.", "sessions", "ActAnswer",
		append([]*fault{faultSession, faultSessionBusy, faultStep, faultModel, faultVersion}, predictFaults...)},
	"post /v1/sessions/{id}/reset": {
		"resetSession", "Begin a session again.", "sessions", "Session",
		[]*fault{faultMalformed, faultLength, faultTooLarge, faultMediaType, faultContract, faultModel, faultVersion, faultNotReady, faultSession, faultSessionBusy, faultSessionExists, faultSessions}},
	"post /v1/sessions/{id}/outcome": {
		"sessionOutcome", "Tell what came of a step of a session: a reward, the end of an episode.", "sessions", "OutcomeAnswer",
		[]*fault{faultMalformed, faultLength, faultTooLarge, faultMediaType, faultContract, faultSession, faultStep, faultExperienceOff, faultRecorder}},
	"get /v1/experience": {
		"experience", "The last steps that were recorded, the newest first.", "models", "Steps", []*fault{faultContract, faultExperienceOff}},
	streamPath: {
		"stream", "Upgrade to WebSocket: one session, whose messages are acts in JSON (text) or MessagePack (binary).", "sessions", "", streamFaults},
	"get /versions": {"versions", "Every model and version, and its state.", "models", "Versions", nil},
	"post /admin/reload": {
		"reload", "Look for changed versions now, and wait until they were tried.", "admin", "Reloaded",
		[]*fault{faultAdminOff, faultForbidden, faultUnauthorized, faultMalformed, faultLength, faultTooLarge, faultMediaType, faultContract, faultModel, faultAdminBusy, faultNotReady, faultDeadline}},
	"post /admin/rollback": {
		"rollback", "Let the version answer that answered before.", "admin", "ModelChange",
		[]*fault{faultAdminOff, faultForbidden, faultUnauthorized, faultMalformed, faultLength, faultTooLarge, faultMediaType, faultContract, faultModel, faultAdminBusy, faultNoPrevious}},
	"get /openapi.json": {"openapi", "This description.", "models", "Any", nil},
	"post /warmup":      {"warmup", "Run the version that answers for each model once more. It is warm already.", "models", "Warmup", []*fault{faultNotReady}},
	"post /predict":     {"predict", "Actions for observations, by the default model.", "predict", "Prediction", predictFaults},
	"post /v1/models/{model}/predict": {
		"predictModel", "Actions by the default version of a model.", "predict", "Prediction", append([]*fault{faultModel}, predictFaults...)},
	"post /v1/models/{model}/versions/{version}/predict": {
		"predictVersion", "Actions by one version of a model.", "predict", "Prediction", append([]*fault{faultVersion}, predictFaults...)},
	"get /v2":              {"v2Server", "What the server is, in the Open Inference Protocol.", "open inference", "ServerMetadata", nil},
	"get /v2/health/live":  {"v2Live", "Whether requests are read and answered.", "open inference", "Live", nil},
	"get /v2/health/ready": {"v2Ready", "Whether requests should be sent here.", "open inference", "Ready", []*fault{faultNotReady}},
	"get /v2/models/{model}": {
		"v2Model", "The tensors of a model.", "open inference", "ModelMetadata", v2Faults},
	"get /v2/models/{model}/ready": {
		"v2ModelReady", "Whether a model answers.", "open inference", "ModelReady", v2Faults},
	"post /v2/models/{model}/infer": {
		"v2Infer", "Actions by the default version of a model, as tensors.", "open inference", "InferResponse", append([]*fault{faultModel}, predictFaults...)},
	"get /v2/models/{model}/versions/{version}": {
		"v2Version", "The tensors of one version of a model.", "open inference", "ModelMetadata", v2Faults},
	"get /v2/models/{model}/versions/{version}/ready": {
		"v2VersionReady", "Whether one version of a model answers.", "open inference", "ModelReady", v2Faults},
	"post /v2/models/{model}/versions/{version}/infer": {
		"v2VersionInfer", "Actions by one version of a model, as tensors.", "open inference", "InferResponse", append([]*fault{faultVersion}, predictFaults...)},
}

var v2Faults = []*fault{faultModel, faultVersion, faultNotReady}

var predictFaults = []*fault{
	faultMalformed, faultLength, faultTooLarge, faultMediaType, faultContract, faultOverloaded, faultInference, faultNotReady, faultMemory, faultDeadline,
}

// everywhere are the faults that any request may meet.
var everywhere = []*fault{faultFraming, faultTimeout, faultExpectation, faultHeaders, faultInternal}

func (s *Server) operation(method string, e *endpoint, c *policy.Contract) object {
	t := descriptions[method+" "+e.template]
	op := object{"operationId": t.id, "summary": t.summary, "tags": []any{t.tag}}
	list := append(append([]*fault{}, everywhere...), t.faults...)
	if t.schema == "Prediction" || t.schema == "ActAnswer" {
		list = append(list, faultMalformedPack)
	}
	if !e.open {
		list = append(list, faultHost, faultOrigin, faultRate)
	}
	if !e.open && s.o.Keys != nil && !s.o.Keyless || e.admin || e.metrics && s.o.Keys.asksForMetrics() {
		list = append(list, faultUnauthorized, faultForbidden, faultRate)
		op["security"] = []any{object{"apiKey": []any{}}, object{"bearer": []any{}}}
	}
	ok := object{"description": "OK", "headers": answerHeaders}
	if t.schema != "" {
		ok["content"] = object{"application/json": object{"schema": ref(t.schema)}}
	} else {
		ok["content"] = object{"text/plain": object{"schema": object{"type": "string"}}}
	}
	if method == "delete" {
		ok = object{"description": "No Content", "headers": answerHeaders}
	}
	if method+" "+e.template == streamPath {
		ok = object{"description": "Switching Protocols", "headers": answerHeaders}
		addStream(op)
	}
	responses := object{success(method, e): ok}
	for _, f := range list {
		addFault(responses, f, e.v2)
	}
	op["responses"] = responses
	addSessionBody(op, e, c)
	if t.schema == "InferResponse" {
		op["requestBody"] = object{
			"required": true,
			"content":  object{"application/json": object{"schema": ref("InferRequest"), "example": example2(c)}},
		}
	}
	if t.schema == "Prediction" {
		op["requestBody"], op["parameters"] = predictBody(c), octetParameters()
		ok["content"].(object)["application/msgpack"] = object{"schema": ref(t.schema)}
	}
	return op
}

var answerHeaders = object{
	"X-Request-ID":   object{"schema": object{"type": "string"}, "description": "The client's id when it matches [A-Za-z0-9._-]{1,128}, else a random UUID."},
	"X-Process-Time": object{"schema": object{"type": "string"}, "description": "Seconds from the parsed request to the answer."},
}

// addFault adds one kind of error answer; kinds of one status share an entry.
func addFault(responses object, f *fault, v2 bool) {
	code, schema := f.status, "Error"
	if v2 {
		code, schema = f.status2(), "InferError"
	}
	status := strconv.Itoa(code)
	if r, ok := responses[status].(object); ok {
		if d := r["description"].(string); !strings.Contains(d, f.code) {
			r["description"] = d + "; " + f.code + ": " + f.message
		}
		return
	}
	r := object{
		"description": fasthttp.StatusMessage(code) + ". " + f.code + ": " + f.message,
		"headers":     answerHeaders,
		"content":     object{"application/json": object{"schema": ref(schema)}},
	}
	responses[status] = r
}

func ref(schema string) object { return object{"$ref": "#/components/schemas/" + schema} }

// namePattern is the form of names in paths.
const namePattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

func pathParameters(template string) []any {
	var list []any
	for part := range strings.SplitSeq(template, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			list = append(list, object{
				"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true,
				"schema": object{"type": "string", "pattern": namePattern},
			})
		}
	}
	if template == "/v1/experience" {
		list = append(list, object{
			"name": "limit", "in": "query", "description": "How many.",
			"schema": object{"type": "integer", "minimum": 1, "maximum": maxLastSteps, "default": lastSteps},
		})
	}
	return list
}

// schemas returns the schemas of the bodies.
func (s *Server) schemas(c *policy.Contract) object {
	codes := []any{}
	seen := map[string]bool{}
	for _, f := range faults {
		if !seen[f.code] {
			seen[f.code] = true
			codes = append(codes, f.code)
		}
	}
	number, text := object{"type": "number"}, object{"type": "string"}
	schemas := object{
		"Any":    object{"type": "object"},
		"Status": form(object{"status": text}),
		"Health": form(object{
			"status": object{"type": "string", "enum": []any{"ok", "degraded"}}, "version": text, "git": text, "device": text, "timestamp": number,
		}),
		"Warmup":   form(object{"status": text, "timingMs": number, "device": text}),
		"Metadata": metadataSchema(),
		"Models":   form(object{"models": object{"type": "array", "items": modelSchema()}}),
		"Versions": object{"type": "object", "required": []any{"current_version", "available_versions", "selection_strategy", "artifacts_root"}},

		"AdminAct":    object{"type": "object", "additionalProperties": false, "properties": object{"model": object{"type": []any{"string", "null"}, "pattern": namePattern}}},
		"Reloaded":    reloadedSchema(),
		"ModelChange": changeSchema(),
		"Error": form(object{
			"error":   object{"type": "string", "enum": codes},
			"message": text,
			"details": object{
				"type": "object", "required": []any{"request_id"},
				"properties": object{
					"request_id": text,
					"validation_errors": object{
						"type": "array", "items": form(object{"field": text, "message": text, "type": text}),
					},
				},
			},
			"timestamp": number,
		}),
	}
	maps.Copy(schemas, s.predictionSchemas(c))
	maps.Copy(schemas, schemas2())
	addSessionSchemas(schemas)
	return schemas
}

// interventionSchema is that of AppendInterventions.
func interventionSchema() object {
	kinds, fallbacks := []any{}, []any{}
	for _, k := range envelope.Kinds {
		kinds = append(kinds, string(k))
	}
	for f := envelope.FallbackHold; f <= envelope.FallbackConstant; f++ {
		fallbacks = append(fallbacks, f.String())
	}
	return object{
		"type": "object", "required": []any{"row", "action", "kind", "from", "to"},
		"properties": object{
			"row": object{"type": "integer"}, "action": object{"type": "string"}, "kind": object{"type": "string", "enum": kinds},
			"fallback": object{"type": "string", "enum": fallbacks}, "feature": object{"type": "string"}, "score": object{"type": "number"},
			"from": object{"type": []any{"number", "null"}}, "to": object{"type": "number"},
		},
	}
}

// form is the schema of an object all of whose members are there.
func form(properties object) object {
	names := make([]string, 0, len(properties))
	for name := range properties {
		names = append(names, name)
	}
	sort.Strings(names)
	return object{"type": "object", "properties": properties, "required": names}
}

func actionSchema(c *policy.Contract) object {
	schema := func(a *policy.Action) object {
		kind := "number"
		if a.Discrete {
			kind = "integer"
		}
		return valuesSchema(a.Shape, kind, a.Low, a.High, "")
	}
	if c.Actions[0].Name == "" {
		if len(c.Actions) == 1 {
			return schema(&c.Actions[0])
		}
		items := []any{}
		for i := range c.Actions {
			items = append(items, schema(&c.Actions[i]))
		}
		return object{"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
	}
	properties := object{}
	for i := range c.Actions {
		properties[c.Actions[i].Name] = schema(&c.Actions[i])
	}
	return form(properties)
}

// valuesSchema is the schema of values nested to a shape.
func valuesSchema(shape []int, kind string, low, high float64, unit string) object {
	if len(shape) > 0 {
		return object{"type": "array", "minItems": shape[0], "maxItems": shape[0], "items": valuesSchema(shape[1:], kind, low, high, unit)}
	}
	o := object{"type": kind}
	if v := bounded(low); v != nil {
		o["minimum"] = *v
	}
	if v := bounded(high); v != nil {
		o["maximum"] = *v
	}
	if unit != "" {
		o["description"] = "in " + unit
	}
	return o
}

// example is a request that the policy takes: the middle of each range.
func example(c *policy.Contract) object {
	if c == nil {
		return object{"observations": []any{}}
	}
	request := object{"deterministic": true}
	if len(c.State) > 0 {
		request["state"] = nil
	}
	if !c.Named {
		f := &c.Features[0]
		request["observations"] = []any{exampleValues([]int{f.Size}, middle(f))}
		return request
	}
	row := object{}
	for i := range c.Features {
		row[c.Features[i].Name] = exampleValues(c.Features[i].Shape, middle(&c.Features[i]))
	}
	request["observations"] = []any{row}
	return request
}

func middle(f *policy.Feature) float64 {
	low, high := bounded(f.Low), bounded(f.High)
	switch {
	case low != nil && high != nil:
		return *low/2 + *high/2
	case low != nil:
		return *low
	case high != nil:
		return *high
	}
	return 0
}

func exampleValues(shape []int, v float64) any {
	if len(shape) == 0 {
		return v
	}
	list := make([]any, shape[0])
	for i := range list {
		list[i] = exampleValues(shape[1:], v)
	}
	return list
}

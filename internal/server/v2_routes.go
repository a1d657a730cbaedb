package server

import (
	"bytes"
	"slices"

	"github.com/valyala/fasthttp"
)

// The routes of the Open Inference Protocol, version 2, over HTTP.

// v2Routes are those that name a model.
type v2Routes struct {
	model, ready, infer                 *endpoint
	version, versionReady, versionInfer *endpoint
}

// find2 is find for paths below /v2/ that name a model.
func (r *routes) find2(path []byte) (e *endpoint, model, version []byte) {
	rest, ok := bytes.CutPrefix(path, []byte("/v2/models/"))
	if !ok {
		return r.notFound2, nil, nil
	}
	model, rest, more := bytes.Cut(rest, []byte("/"))
	if !validName(model) {
		return r.notFound2, nil, nil
	}
	whole, ready, infer := r.v2.model, r.v2.ready, r.v2.infer
	if tail, ok := bytes.CutPrefix(rest, []byte("versions/")); ok {
		if version, rest, more = bytes.Cut(tail, []byte("/")); !validName(version) {
			return r.notFound2, nil, nil
		}
		whole, ready, infer = r.v2.version, r.v2.versionReady, r.v2.versionInfer
	}
	switch {
	case !more:
		return whole, model, version
	case string(rest) == "ready":
		return ready, model, version
	case string(rest) == "infer":
		return infer, model, version
	}
	return r.notFound2, nil, nil
}

// status2 is the status of a fault on the protocol's routes, where a request
// that does not fit the model is 400.
func (f *fault) status2() int {
	if f == faultContract {
		return fasthttp.StatusBadRequest
	}
	return f.status
}

// appendError2 appends the protocol's form of an error.
func appendError2(b []byte, message string) []byte {
	b = append(b, `{"error":`...)
	b = appendString(b, message)
	return append(b, '}')
}

// v2Server answers what the server is.
func (x *exchange) v2Server() error {
	b := append(x.out[:0], `{"name":"carla-rl-serving","version":`...)
	b = appendString(b, x.s.o.Version)
	x.out = append(b, `,"extensions":["binary_tensor_data","sequence","sequence(string_id)"]}`...)
	x.json(fasthttp.StatusOK, x.out)
	return nil
}

func (x *exchange) v2Live() error {
	x.json(fasthttp.StatusOK, []byte(`{"live":true}`))
	return nil
}

// v2Ready is readyz in the protocol's form.
func (x *exchange) v2Ready() error {
	if err := x.readyz(); err != nil {
		return err
	}
	x.json(fasthttp.StatusOK, []byte(`{"ready":true,"live":true}`))
	return nil
}

// resolve finds the version that the path names.
func (x *exchange) resolve() (err error) {
	x.target, err = x.s.backend.Resolve(x.modelName.of(x.model), x.versionName.of(x.version))
	return err
}

func (x *exchange) v2ModelReady() error {
	if err := x.resolve(); err != nil {
		return err
	}
	b := append(x.out[:0], `{"name":`...)
	b = appendString(b, x.target.Model)
	x.out = append(b, `,"ready":true}`...)
	x.json(fasthttp.StatusOK, x.out)
	return nil
}

// v2Metadata is what the protocol tells of a model.
type v2Metadata struct {
	Name     string     `json:"name"`
	Versions []string   `json:"versions"`
	Platform string     `json:"platform"`
	Inputs   []v2Tensor `json:"inputs"`
	Outputs  []v2Tensor `json:"outputs"`
}

type v2Tensor struct {
	Name     string `json:"name"`
	Datatype string `json:"datatype"`
	Shape    []int  `json:"shape"` // -1 is the number of rows
}

// v2Model answers the tensors of a model: one for each feature and action.
func (x *exchange) v2Model() error {
	if err := x.resolve(); err != nil {
		return err
	}
	t := &x.target
	m := v2Metadata{Name: t.Model, Platform: "carla_rl_policy"}
	for _, v := range x.s.backend.Listing().Versions {
		if v.Model == t.Model && v.Ready && (x.version == nil || v.Version == t.Version) && !slices.Contains(m.Versions, v.Version) {
			m.Versions = append(m.Versions, v.Version)
		}
	}
	if m.Versions == nil {
		m.Versions = []string{t.Version}
	}
	for i := range t.Contract.Features {
		m.Inputs = append(m.Inputs, v2Tensor{inputName(t.Contract, i), "FP32", append([]int{-1}, t.Contract.Features[i].Shape...)})
	}
	for i := range t.Contract.Actions {
		a := &t.Contract.Actions[i]
		m.Outputs = append(m.Outputs, v2Tensor{actionName(t.Contract, i), outputDatatype(a), append([]int{-1}, a.Shape...)})
	}
	return x.answer(&m)
}

package server_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-json-experiment/json"

	safety "github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// metadataOf returns a member of the metadata of a contract as it is sent.
func metadataOf(t *testing.T, c *policy.Contract, member string) string {
	t.Helper()
	s := serve(t, &fakeBackend{contract: c}, server.Options{Limits: fast()})
	r := s.do("GET", "/metadata", "")
	var m map[string]jsonText
	if err := json.Unmarshal([]byte(r.body), &m); r.status != 200 || err != nil {
		t.Fatalf("%d %v %s", r.status, err, r.body)
	}
	return string(m[member])
}

// jsonText keeps a value as it came.
type jsonText []byte

func (j *jsonText) UnmarshalJSON(b []byte) error {
	*j = append(jsonText{}, b...)
	return nil
}

func TestMetadataOfSpaces(t *testing.T) {
	inf := float32(math.Inf(1))
	f := func(name string, change func(c *policy.Contract), member, want string) {
		t.Helper()
		c := unnamed(2)
		change(c)
		if diff := cmp.Diff(want, metadataOf(t, c, member)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	f("no bounds", func(*policy.Contract) {}, "observation", `[{"name":"obs","shape":[2],"low":null,"high":null,"space":{"type":"Box","shape":[2],"dtype":"float32","low":null,"high":null}}]`)
	f("a bound for each value", func(c *policy.Contract) {
		c.Features[0].Space = &policy.Space{Kind: "Box", DType: "float64", Shape: []int{2}, Low: []float32{-4.8, -inf}, High: []float32{inf, inf}}
	}, "observation", `[{"name":"obs","shape":[2],"low":null,"high":null,"space":{"type":"Box","shape":[2],"dtype":"float64","low":[-4.8,null],"high":null}}]`)
	f("an image", func(c *policy.Contract) {
		c.Inputs[0] = policy.Input{Name: "obs", Shape: []int{4, 4, 1}, Width: 16}
		c.Features[0] = policy.Feature{Name: "obs", Shape: []int{4, 4, 1}, Size: 16, Image: true, Low: 0, High: 255}
	}, "observation", `[{"name":"obs","shape":[4,4,1],"low":0,"high":255,"image":true,"channels":"last","space":{"type":"Box","shape":[4,4,1],"dtype":"uint8","low":0,"high":255}}]`)
	f("an image with its channels first", func(c *policy.Contract) {
		c.Inputs[0] = policy.Input{Name: "obs", Shape: []int{1, 2, 2}, Width: 4}
		c.Features[0] = policy.Feature{Name: "obs", Shape: []int{1, 2, 2}, Size: 4, Low: 0, High: 255, Space: &policy.Space{Kind: "Box", DType: "uint8", Shape: []int{1, 2, 2}, Low: make([]float32, 4), High: []float32{255, 255, 255, 255}}}
	}, "observation", `[{"name":"obs","shape":[1,2,2],"low":0,"high":255,"channels":"first","space":{"type":"Box","shape":[1,2,2],"dtype":"uint8","low":0,"high":255}}]`)
	choice := policy.Action{Low: 0, High: 4, Discrete: true, Size: 1}
	f("a Discrete by its bounds", func(c *policy.Contract) { c.Actions = []policy.Action{choice} }, "action",
		`[{"shape":[],"low":0,"high":4,"discrete":true,"space":{"type":"Discrete","shape":[],"dtype":"int64","n":5}}]`)
	f("a Discrete of the file", func(c *policy.Contract) {
		choice.Space = &policy.Space{Kind: "Discrete", DType: "int64", N: []int{5}, Start: 3}
		c.Actions = []policy.Action{choice}
	}, "action", `[{"shape":[],"low":0,"high":4,"discrete":true,"space":{"type":"Discrete","shape":[],"dtype":"int64","n":5,"start":3}}]`)
	f("a Discrete of unknown size", func(c *policy.Contract) {
		c.Actions = []policy.Action{{Low: math.Inf(-1), High: math.Inf(1), Discrete: true, Size: 1}}
	}, "action", `[{"shape":[],"low":null,"high":null,"discrete":true}]`)
	choices := policy.Action{Low: 0, High: 2, Discrete: true, Shape: []int{2}, Size: 2}
	f("choices by the masks", func(c *policy.Contract) {
		c.Actions, c.Masks, c.MaskParts = []policy.Action{choices}, 5, []int{3, 2}
	}, "action", `[{"shape":[2],"low":0,"high":2,"discrete":true,"space":{"type":"MultiDiscrete","shape":[2],"dtype":"int64","nvec":[3,2]}}]`)
	f("masks", func(c *policy.Contract) { c.Masks, c.MaskParts = 5, []int{3, 2} }, "masks", `{"width":5,"parts":[3,2]}`)
	f("switches", func(c *policy.Contract) {
		choices.Space = &policy.Space{Kind: "MultiBinary", DType: "int8", Shape: []int{2}}
		c.Actions = []policy.Action{choices}
	}, "action", `[{"shape":[2],"low":0,"high":2,"discrete":true,"space":{"type":"MultiBinary","shape":[2],"dtype":"int8"}}]`)
	f("state", func(c *policy.Contract) {
		c.State = []policy.StateSpec{{Name: "h", Shape: []int{1, 8}, Width: 8}, {Name: "c", Shape: []int{1, 8}, Width: 8}}
	}, "state", `{"width":16,"parts":[{"name":"h","shape":[1,8]},{"name":"c","shape":[1,8]}]}`)
	f("what may be asked for", func(c *policy.Contract) {
		c.Extras = []policy.ExtraSpec{{Name: "log_std", Width: 2}, {Name: "value", Width: 1}, {Name: "distribution.mean", Width: 2}, {Name: "distribution.std", Width: 2}}
	}, "return", `["log_std","value","distribution"]`)
	f("the kind of the distribution", func(c *policy.Contract) { c.Distribution = "gaussian" }, "distribution", `"gaussian"`)
	f("a version change", func(c *policy.Contract) { c.OnVersionChange = "reset" }, "onVersionChange", `"reset"`)
	f("an envelope", func(c *policy.Contract) {
		c.Envelope = &safety.Spec{Limits: []safety.Limit{{Low: -1, High: 1, Rate: 2}, {Low: math.Inf(-1), High: 1, Jerk: 0.5}}, Fallback: safety.FallbackConstant, Constant: []float32{0.1, 0}}
	}, "envelope", `{"limits":[{"action":"[0]","low":-1,"high":1,"rate":2},{"action":"[1]","low":null,"high":1,"jerk":0.5}],"fallback":"constant","constant":[0.1,0],"needsHistory":true}`)
	f("an envelope of bounds", func(c *policy.Contract) {
		c.Envelope = &safety.Spec{Limits: []safety.Limit{{Low: -1, High: 1}, {Low: -1, High: 1}}, Fallback: safety.FallbackBrake}
	}, "envelope", `{"limits":[{"action":"[0]","low":-1,"high":1},{"action":"[1]","low":-1,"high":1}],"fallback":"brake","needsHistory":false}`)
}

// twoModels has a second model, whose version is not ready.
type twoModels struct{ *fakeBackend }

func (b twoModels) Resolve(model, version string) (server.Target, error) {
	if model == "other" {
		return server.Target{}, &server.NotReadyError{Model: model, Version: "v2", State: "failed", Reason: "no weights"}
	}
	return b.fakeBackend.Resolve(model, version)
}

func (b twoModels) Listing() server.Listing {
	l := b.fakeBackend.Listing()
	l.Versions = append(l.Versions, server.VersionStatus{Model: "other", Version: "v2", State: "failed", Reason: "no weights"})
	return l
}

// unlisted is not to be asked for all that it has.
type unlisted struct {
	*fakeBackend
	t *testing.T
}

func (b unlisted) Listing() server.Listing {
	b.t.Error("everything was listed")
	return server.Listing{}
}

// TestHealthListsNothing holds that a probe, which anybody may send, costs the
// same however many models there are.
func TestHealthListsNothing(t *testing.T) {
	s := serve(t, unlisted{&fakeBackend{contract: driving()}, t}, server.Options{Limits: fast()})
	for _, path := range []string{"/healthz", "/livez", "/readyz", "/startupz", "/v2/health/live", "/v2/health/ready"} {
		if r := s.do("GET", path, ""); r.status != 200 {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
}

func TestModels(t *testing.T) {
	s := serve(t, twoModels{&fakeBackend{contract: driving()}}, server.Options{Limits: fast()})
	const want = `{"models":[{"name":"carla-ppo","default":true,"ready":true,"current":"v0.1.0","versions":[{"version":"v0.1.0","state":"ready","ready":true,"stable":true,"digest":"sha256:abc"}]},` +
		`{"name":"other","default":false,"ready":false,"versions":[{"version":"v2","state":"failed","ready":false,"stable":false,"reason":"no weights"}]}]}`
	if r := s.do("GET", "/v1/models", ""); r.status != 200 || r.body != want {
		t.Errorf("%d\n got %s\nwant %s", r.status, r.body, want)
	}
	f := func(path string, status int, code string) {
		t.Helper()
		if r := s.do("GET", path, ""); r.status != status || r.code(t) != code {
			t.Errorf("%s: %d %s, want %d %s", path, r.status, r.body, status, code)
		}
	}
	f("/v1/models/other", 503, "SERVICE_UNAVAILABLE")
	f("/v1/models/other/versions/v2", 503, "SERVICE_UNAVAILABLE")
	f("/v1/models/none", 404, "MODEL_NOT_FOUND")
	f("/v1/models/carla-ppo/versions/v7", 404, "VERSION_NOT_FOUND")
	for _, path := range []string{"/v1/models/", "/v1/models/carla-ppo/", "/v1/models/carla-ppo/versions", "/v1/models/carla-ppo/versions/", "/v1/models/carla-ppo/versions/v0.1.0/",
		"/v1/models/../metadata", "/v1/models/%63arla-ppo", "/v1/models/carla-ppo/versions/a..b", "/v1/models/carla-ppo/versions/predict/predict/predict"} {
		f(path, 404, "NOT_FOUND")
	}
	if r := s.do("POST", "/v1/models", "{}"); r.status != 405 || r.header.Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("%d %v", r.status, r.header)
	}
}

package doctor

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// guideFeatures are the numbers of the deployment guide's request: speed,
// steering and five sensors.
const guideFeatures = 7

// served is an artifact that would be served: a ConfigMap with a card, or the
// folder that was named.
type served struct {
	where    string
	card     map[string]any
	opened   *artifact.Artifact // nil where there are problems
	problems []artifact.Problem
	object   *Object // nil for a folder
}

// served returns the artifacts of the input, for the version that the servers
// are asked for.
func (e *examination) served() []served {
	var out []served
	for _, o := range e.of("ConfigMap") {
		data, ok := mapping(o.m["data"])[artifact.CardName]
		if !ok {
			continue
		}
		s := served{where: o.where("data", artifact.CardName), object: o, card: parseCard([]byte(text(data)))}
		if complete, items := e.mountedWhole(o); complete {
			a, err := artifact.Open(configMapFiles(o, items), ".", artifact.Limits{})
			s.opened = a
			if list := (*artifact.Error)(nil); errors.As(err, &list) {
				s.problems = list.Problems
			}
		}
		out = append(out, s)
	}
	if e.Artifacts == nil {
		return out
	}
	for _, v := range e.versions() {
		a, problems, err := e.Artifacts.Open(v)
		if err != nil {
			continue // model-version tells it.
		}
		s := served{where: e.Artifacts.Name, problems: problems, opened: a}
		if a != nil {
			s.where = a.Dir
			s.card = cardFacts(a.Card)
		}
		out = append(out, s)
	}
	return out
}

// versions returns the versions that the servers are asked for, "" where none
// says.
func (e *examination) versions() []string {
	var out []string
	for _, c := range e.servers() {
		v, _ := e.setting(c, "model.version")
		out = append(out, v)
	}
	if e.Config != nil && len(out) == 0 {
		var doc any
		if yaml.Unmarshal([]byte(e.Config.Data), &doc) == nil {
			out = append(out, text(at(doc, "model", "version")))
		}
	}
	if len(out) == 0 {
		out = []string{""}
	}
	return unique(out)
}

func unique(in []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range in {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// mountedWhole reports whether a ConfigMap is the artifact folder of a server,
// and not one of several sources of it; one that nothing mounts is taken for
// it.
func (e *examination) mountedWhole(o *Object) (bool, []any) {
	mounted := false
	for _, w := range e.workloads {
		for _, c := range w.containers(e.Objects) {
			for _, m := range c.mounts() {
				if w.Namespace() != o.Namespace() || text(at(m.volume, "configMap", "name")) != o.Name() {
					continue
				}
				mounted = true
				dir, _ := e.setting(c, "model.artifact_dir")
				if dir == "" {
					dir = "/app/artifacts"
				}
				if c.serves() && m.subPath == "" && m.path == strings.TrimRight(dir, "/") {
					return true, list(at(m.volume, "configMap", "items"))
				}
			}
		}
	}
	return !mounted, nil
}

// parseCard reads a card as far as it can be read.
func parseCard(data []byte) map[string]any {
	var v any
	if yaml.Unmarshal(data, &v) != nil {
		return nil
	}
	return mapping(v)
}

// cardFacts are the facts of a card that the checks look at, as parseCard
// gives them.
func cardFacts(c *artifact.Card) map[string]any {
	m := map[string]any{"version": c.Version, "postprocess": c.Postprocess}
	if !c.Present {
		return nil
	}
	for key, shape := range map[string][]int{"input_shape": c.InputShape, "output_shape": c.OutputShape} {
		if shape == nil {
			continue
		}
		var l []any
		for _, n := range shape {
			l = append(l, n)
		}
		m[key] = l
	}
	if c.Observation != nil {
		m["observation"] = []any{}
	}
	if c.Action != nil {
		l := []any{}
		for _, a := range c.Action {
			x := map[string]any{"name": a.Name}
			if a.Low != nil {
				x["low"] = *a.Low
			}
			l = append(l, x)
		}
		m["action"] = l
	}
	return m
}

// requestWidth holds the width of a card against the guide's own request.
func (e *examination) requestWidth() {
	for _, s := range e.served() {
		shape := list(s.card["input_shape"])
		if len(shape) != 1 || s.card["observation"] != nil {
			continue
		}
		n := number(shape[0], 0)
		if n == guideFeatures || n < 3 {
			continue
		}
		e.add(Warning, s.where, fmt.Sprintf("input_shape is [%d], and the guide's request has %d numbers: speed, steering and 5 sensors", n, guideFeatures),
			fmt.Sprintf("Send %d sensors, or give the card the shape that the network takes: input_shape: [%d]", n-2, guideFeatures))
	}
}

// artifactFiles lists what is wrong with the files of an artifact, but for
// digests.
func (e *examination) artifactFiles() {
	for _, s := range e.served() {
		for _, p := range s.problems {
			if isDigest(p) {
				continue
			}
			mend := p.Hint
			p.Hint = ""
			if s.object != nil && errors.Is(p.Err, artifact.ErrMissing) {
				mend = fmt.Sprintf("kubectl create configmap %s -n %s --from-file=artifacts/ --dry-run=client -o yaml | kubectl apply --server-side -f -   # files become binaryData, up to 1 MiB; larger ones go into the image or a volume claim",
					s.object.Name(), orDefault(s.object.Namespace()))
			}
			if mend == "" {
				mend = "carla-rl check artifact DIR lists everything that is wrong with a folder."
			}
			e.add(Error, s.where, p.String(), mend)
		}
	}
}

func isDigest(p artifact.Problem) bool {
	return errors.Is(p.Err, artifact.ErrPlaceholder) || errors.Is(p.Err, artifact.ErrHash) || errors.Is(p.Err, artifact.ErrNoHash) ||
		strings.HasPrefix(p.Field, "artifact_hashes")
}

func orDefault(namespace string) string {
	if namespace == "" {
		return "default"
	}
	return namespace
}

// hashes lists digests that are none, or are those of other bytes.
func (e *examination) hashes() {
	for _, s := range e.served() {
		for _, p := range s.problems {
			if isDigest(p) {
				p.Hint = ""
				e.add(Error, s.where, p.String(), "sha256sum model.pt preprocessor.pkl   # and copy the digests into artifact_hashes, or leave the key out")
			}
		}
		if s.problems != nil || s.opened != nil {
			continue
		}
		for name, v := range words(s.card["artifact_hashes"]) { // Only the card is here.
			if _, hex, _ := strings.Cut(":"+v, "sha256:"); len(hex) != 64 {
				e.add(Error, s.where, fmt.Sprintf("artifact_hashes[%q]: %s is no SHA-256", name, v), "sha256sum "+name)
			}
		}
	}
}

// modelVersion looks for the version that is asked for.
func (e *examination) modelVersion() {
	for _, c := range e.servers() {
		v, _ := e.setting(c, "model.version")
		want, err := artifact.ParseVersion(v)
		if v == "" || err != nil {
			continue
		}
		for _, s := range e.served() {
			if whole, _ := e.mountedWhole(objectOf(s)); s.object == nil || !whole || s.object.Namespace() != c.w.Namespace() {
				continue
			}
			has := text(s.card["version"])
			if got, err := artifact.ParseVersion(has); err == nil && !got.Equal(want) {
				e.add(Error, c.where("env", "MODEL_VERSION"), fmt.Sprintf("MODEL_VERSION is %s, and the card in %s says version %s", v, s.object.Name(), has),
					fmt.Sprintf("- {name: MODEL_VERSION, value: %q}", has))
			}
		}
	}
	if e.Artifacts == nil {
		return
	}
	for _, v := range e.versions() {
		if _, _, err := e.Artifacts.Open(v); err != nil {
			asked := "the newest stable version"
			if v != "" {
				asked = "MODEL_VERSION " + v
			}
			e.add(Error, e.Artifacts.Name, fmt.Sprintf("asked for %s: %v", asked, err), "Set MODEL_VERSION to a version that is there, or put that version into the folder.")
		}
	}
}

// objectOf is the ConfigMap of an artifact, or an object that nothing mounts.
func objectOf(s served) *Object {
	if s.object == nil {
		return &Object{}
	}
	return s.object
}

// contract looks at what a card leaves to be guessed.
func (e *examination) contract() {
	for _, s := range e.served() {
		if s.card == nil {
			continue
		}
		if s.card["observation"] == nil || s.card["action"] == nil {
			e.add(Note, s.where, "the card does not name the features of an observation or the parts of an action, so that they are guessed",
				"observation: [{name: speed, low: 0, high: 200}, {name: steering, low: -1, high: 1}, {name: sensors, shape: [5], low: 0, high: 1}]\naction: [{name: throttle, low: 0, high: 1}, {name: brake, low: 0, high: 1}, {name: steer, low: -1, high: 1}]")
		}
		bounded := false
		for _, a := range list(s.card["action"]) {
			bounded = bounded || at(a, "low") != nil
		}
		if bounded && text(s.card["postprocess"]) == "" {
			e.add(Note, s.where, "actions have bounds and the card does not say how they are kept: they are clipped, which makes 0 of the negative half of a tanh",
				"postprocess: clip   # or unscale, which maps -1..1 to the bounds as stable-baselines3 does for squashed actions")
		}
	}
}

// unhashed lists files that no digest protects.
func (e *examination) unhashed() {
	for _, s := range e.served() {
		if s.opened == nil {
			continue
		}
		for _, m := range s.opened.Members {
			if !m.Hashed && (m.Role == artifact.RoleModel || m.Role == artifact.RolePreprocessor) {
				e.add(Note, s.where, m.Name+" has no digest in the card", fmt.Sprintf("artifact_hashes: {%s: \"sha256:%s\"}   # and CARLA_RL_REQUIRE_HASHES=true holds every artifact to it", m.Name, m.SHA256))
			}
		}
	}
}

// artifactMount looks for artifacts that can be written to.
func (e *examination) artifactMount() {
	for _, c := range e.servers() {
		dir, _ := e.setting(c, "model.artifact_dir")
		for _, m := range c.mounts() {
			if dir != "" && m.path == strings.TrimRight(dir, "/") && !m.readOnly {
				e.add(Note, c.where("volumeMounts", m.path), "the artifacts are mounted so that the container may write to them", "readOnly: true")
			}
		}
	}
}

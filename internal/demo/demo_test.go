package demo_test

import (
	"math"
	"os"
	"testing"

	"github.com/go-json-experiment/json"

	carlarl "github.com/carla-rl/carla-rl-serving"
	"github.com/carla-rl/carla-rl-serving/internal/demo"
)

// evaluationSeed is the first of the seeds that training/evaluate.py drives.
const evaluationSeed = 1_000_000

// episode is a whole drive, recorded with torch.
type episode struct {
	Seed         uint64       `json:"seed"`
	Success      bool         `json:"success"`
	Observations [][7]float32 `json:"observations"`
	Actions      [][3]float32 `json:"actions"`
}

func readEpisodes(t *testing.T) []episode {
	t.Helper()
	data, err := os.ReadFile("testdata/episodes.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Episodes []episode `json:"episodes"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Episodes) == 0 {
		t.Fatal("no episode is recorded")
	}
	return file.Episodes
}

func openDemo(t *testing.T) *carlarl.Policy {
	t.Helper()
	p, err := carlarl.OpenFS(demo.FS, demo.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestReplayGivesTorchsActions(t *testing.T) {
	p := openDemo(t)
	for _, e := range readEpisodes(t) {
		for i, obs := range e.Observations {
			var got [3]float32
			if err := p.ActRow(obs[:], got[:]); err != nil {
				t.Fatalf("episode %d step %d: %v", e.Seed, i, err)
			}
			for k, want := range e.Actions[i] {
				if diff := math.Abs(float64(got[k] - want)); diff > 1e-5+1e-5*math.Abs(float64(want)) {
					t.Fatalf("episode %d step %d action %d: got %v, want %v", e.Seed, i, k, got[k], want)
				}
			}
		}
	}
}

// The port of the environment is held to the recorded drives before the engine
// drives in it.
func TestRecordedActionsGiveRecordedObservations(t *testing.T) {
	for _, e := range readEpisodes(t) {
		c := newCar(e.Seed)
		for i, want := range e.Observations {
			for k, got := range c.obs {
				if diff := math.Abs(float64(got - want[k])); diff > 1e-3 {
					t.Fatalf("episode %d step %d feature %d: got %v, want %v", e.Seed, i, k, got, want[k])
				}
			}
			a := e.Actions[i]
			over, success := c.step(float64(a[0]), float64(a[1]), float64(a[2]))
			if last := i == len(e.Observations)-1; over != last || success != (last && e.Success) {
				t.Fatalf("episode %d step %d of %d: over %t, success %t", e.Seed, i, len(e.Observations), over, success)
			}
		}
	}
}

func TestEngineDrives(t *testing.T) {
	p := openDemo(t)
	rate := successRate(t, func(obs [7]float32) (action [3]float32) {
		if err := p.ActRow(obs[:], action[:]); err != nil {
			t.Fatal(err)
		}
		return action
	})
	if rate < 0.95 {
		t.Errorf("success rate %.2f, want at least 0.95", rate)
	}
}

func TestEngineWithShuffledSensorsDoesNotDrive(t *testing.T) {
	p := openDemo(t)
	random := splitMix64(1)
	rate := successRate(t, func(obs [7]float32) (action [3]float32) {
		for i := 6; i > 2; i-- {
			j := random.integer(2, i)
			obs[i], obs[j] = obs[j], obs[i]
		}
		if err := p.ActRow(obs[:], action[:]); err != nil {
			t.Fatal(err)
		}
		return action
	})
	if rate > 0.3 {
		t.Errorf("success rate %.2f, want at most 0.3", rate)
	}
}

func TestConstantAndRandomActionsDoNotDrive(t *testing.T) {
	random := splitMix64(2)
	policies := map[string]func([7]float32) [3]float32{
		"constant": func([7]float32) [3]float32 { return [3]float32{0.3, 0, 0} },
		"random": func([7]float32) [3]float32 {
			return [3]float32{float32(random.uniform(0, 1)), float32(random.uniform(0, 1)), float32(random.uniform(-1, 1))}
		},
	}
	for name, act := range policies {
		if rate := successRate(t, act); rate > 0.3 {
			t.Errorf("%s: success rate %.2f, want at most 0.3", name, rate)
		}
	}
}

// successRate drives 100 roads.
func successRate(t *testing.T, act func(obs [7]float32) [3]float32) float64 {
	t.Helper()
	const episodes = 100
	successes := 0
	for seed := uint64(evaluationSeed); seed < evaluationSeed+episodes; seed++ {
		c := newCar(seed)
		for {
			a := act(c.obs)
			over, success := c.step(float64(a[0]), float64(a[1]), float64(a[2]))
			if success {
				successes++
			}
			if over {
				break
			}
		}
	}
	t.Logf("%d of %d episodes to the end of the road", successes, episodes)
	return float64(successes) / episodes
}

package policy

import (
	"fmt"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// checkTraining refuses an agent whose observations were normalised in training
// by statistics that are not there, and notes what else the training did to
// observations before the policy saw them.
func checkTraining(src *sources, t *artifact.Training, notes *[]string) error {
	if t == nil {
		return nil
	}
	from := strings.Join(t.Files, " and ")
	if n := t.Normalize; n != nil && n.Observation && src.preprocessor == nil {
		return fmt.Errorf("%s says that observations were normalised in training, and the statistics are not there: put vecnormalize.pkl beside the model", from)
	}
	if t.FrameStack > 1 {
		*notes = append(*notes, fmt.Sprintf("frames: %s says that %d observations were stacked; one that is sent holds all of them, the oldest first", from, t.FrameStack))
	}
	if len(t.EnvWrappers) > 0 {
		*notes = append(*notes, fmt.Sprintf("wrappers: %s says that the environment was wrapped by %s; what is sent is the observation as the last of them gives it", from, strings.Join(t.EnvWrappers, ", ")))
	}
	return nil
}

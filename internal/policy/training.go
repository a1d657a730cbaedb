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
	if err := src.checkFrames(t); err != nil {
		return err
	}
	if t.FrameStack > 1 && !src.stacks() {
		if err := stackStatistics(src, t.FrameStack); err != nil {
			return err
		}
		*notes = append(*notes, fmt.Sprintf("frames: %s says that %d observations were stacked; one that is sent holds all of them, the oldest first; a model_card.yaml with frame_stack: %d has single ones sent, and the policy keep the others", from, t.FrameStack, t.FrameStack))
	}
	if len(t.EnvWrappers) > 0 {
		*notes = append(*notes, fmt.Sprintf("wrappers: %s says that the environment was wrapped by %s; what is sent is the observation as the last of them gives it", from, strings.Join(t.EnvWrappers, ", ")))
	}
	return nil
}

// stackStatistics repeats statistics of one observation for the frames that the
// network takes: RL Zoo normalises before it stacks. Statistics that are as wide
// as what the network takes were made of stacked observations, and stay.
func stackStatistics(src *sources, frames int) error {
	if src.preprocessor == nil || src.preprocessor.Identity() {
		return nil
	}
	for _, in := range src.network.Describe().Inputs {
		width := src.preprocessor.KeyWidth(in.Name)
		if len(src.preprocessor.Keys()) == 0 {
			width = src.preprocessor.Width()
		}
		if len(in.Shape) < 2 || width != 0 && product(in.Shape[1:]) != frames*width {
			return nil
		}
	}
	var err error
	src.preprocessor, err = src.preprocessor.Stacked(frames)
	return err
}

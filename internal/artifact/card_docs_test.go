package artifact_test

import (
	"os"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// Every piece of a card in its documentation is one that is read.
func TestDocumentedCards(t *testing.T) {
	page, err := os.ReadFile("../../docs/model-card.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```")
	tried := 0
	for i := 1; i < len(blocks); i += 2 {
		text, ok := strings.CutPrefix(blocks[i], "yaml\n")
		if !ok {
			continue
		}
		if !strings.Contains(text, "model_name:") {
			text = minimal + text
		}
		tried++
		_, notes, err := artifact.ParseCard([]byte(text))
		if err != nil {
			t.Errorf("%v:\n%s", err, text)
		}
		for _, n := range notes {
			if strings.Contains(n, "not one that is used") {
				t.Errorf("%s:\n%s", n, text)
			}
		}
	}
	if tried < 10 {
		t.Errorf("only %d pieces of cards were found", tried)
	}
}

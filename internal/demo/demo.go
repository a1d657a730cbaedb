// Package demo holds the demo policy: a small PPO driving policy with its
// preprocessor and card, as training/train.py wrote them. It imports nothing
// of ours; whoever opens the artifact does so as with any other folder.
package demo

import "embed"

// Dir is the folder of the artifact in FS.
const Dir = "artifact"

// FS holds the artifact's files under Dir.
//
//go:embed artifact
var FS embed.FS

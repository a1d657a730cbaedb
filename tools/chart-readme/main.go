// The command chart-readme writes the table of values into the README of the
// Helm chart, from the comments of its values.yaml. Run it at the root of the
// repository:
//
//	go run ./tools/chart-readme
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

const chart = "charts/carla-rl-serving"

func main() {
	if err := run(chart); err != nil {
		fmt.Fprintln(os.Stderr, "chart-readme:", err)
		os.Exit(1)
	}
}

// run writes README.md of the chart in dir anew.
func run(dir string) error {
	values, err := os.ReadFile(filepath.Join(dir, "values.yaml"))
	if err != nil {
		return err
	}
	name := filepath.Join(dir, "README.md")
	readme, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	text, err := update(string(readme), values)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return os.WriteFile(name, []byte(text), 0o644)
}

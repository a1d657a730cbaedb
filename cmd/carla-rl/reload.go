package main

import (
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json"
)

// reloadCmd has a server look for changed versions now.
type reloadCmd struct {
	Model string `arg:"" optional:"" help:"Model whose files are read. Default: all."`
	remote
}

// Help gives examples.
func (c *reloadCmd) Help() string {
	return `Examples:
  carla-rl reload                                 what changed under the artifact folder
  carla-rl reload highway --url http://robot:8080 --key-file admin.key

The server reads every file, loads what is new and answers when that was tried.
Exit code 1: a version was refused, or the folder could not be read.`
}

// Run asks and prints what came of it.
func (c *reloadCmd) Run(s stdio) error {
	key, err := c.key("CARLA_RL_ADMIN_KEY")
	if err != nil {
		return err
	}
	text, err := c.ask(http.MethodPost, "/admin/reload", key, &modelBody{c.Model})
	if err != nil {
		return err
	}
	var r struct {
		Result string   `json:"result"`
		Error  string   `json:"error"`
		TookMS float64  `json:"took_ms"`
		Models []change `json:"models"`
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("%s: the answer is none of a reload: %w", c.URL, err)
	}
	if c.JSON {
		fmt.Fprintf(s.out, "%s\n", text)
	} else {
		for i := range r.Models {
			fmt.Fprintln(s.out, &r.Models[i])
		}
		if r.Error != "" {
			fmt.Fprintln(s.out, oneLine(r.Error))
		}
	}
	if r.Result == "failed" {
		return errRefused
	}
	return nil
}

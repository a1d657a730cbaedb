package main

import (
	"fmt"
	"net/http"
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
	var r struct {
		Result string   `json:"result"`
		Error  string   `json:"error"`
		TookMS float64  `json:"took_ms"`
		Models []change `json:"models"`
	}
	if err := c.query(s, http.MethodPost, "/admin/reload", &modelBody{c.Model}, &r, "reload", "CARLA_RL_ADMIN_KEY"); err != nil {
		return err
	}
	if !c.JSON {
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

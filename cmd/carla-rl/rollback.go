package main

import (
	"fmt"
	"net/http"
)

// rollbackCmd has a server go back to the version that answered before.
type rollbackCmd struct {
	Model string `arg:"" optional:"" help:"Model to roll back. Default: the default one."`
	remote
}

// Help gives examples.
func (c *rollbackCmd) Help() string {
	return `Examples:
  carla-rl rollback
  carla-rl rollback highway --url http://robot:8080 --key-file admin.key

The version before is in memory, so that it answers at once. It stays until there
is a version that was not there before, or until carla-rl reload; and until the
server is restarted, which knows only what is under the artifact folder.`
}

// Run asks and prints what came of it.
func (c *rollbackCmd) Run(s stdio) error {
	var m change
	if err := c.query(s, http.MethodPost, "/admin/rollback", &modelBody{c.Model}, &m, "rollback", "CARLA_RL_ADMIN_KEY"); err != nil {
		return err
	}
	if !c.JSON {
		fmt.Fprintln(s.out, &m)
	}
	return nil
}

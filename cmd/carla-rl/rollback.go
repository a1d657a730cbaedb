package main

import (
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json"
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
	key, err := c.key("CARLA_RL_ADMIN_KEY")
	if err != nil {
		return err
	}
	text, err := c.ask(http.MethodPost, "/admin/rollback", key, &modelBody{c.Model})
	if err != nil {
		return err
	}
	var m change
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("%s: the answer is none of a rollback: %w", c.URL, err)
	}
	if c.JSON {
		fmt.Fprintf(s.out, "%s\n", text)
		return nil
	}
	fmt.Fprintln(s.out, &m)
	return nil
}

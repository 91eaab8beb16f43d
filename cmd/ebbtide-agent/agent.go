package main

import (
	"context"
	"errors"
)

// run runs the agent until ctx ends.
func run(context.Context, Config) error {
	return errors.New("starting the agent: this build has no agent yet")
}

package programrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
)

// Client is a program that asks another one something, and ends.
type Client struct {
	ctx            context.Context //nolint:containedctx // it is what the process lives by
	command        *exec.Cmd
	stdout, stderr bytes.Buffer
}

// StartClient starts binary with args and an empty environment. It is killed when ctx
// ends. The caller calls Wait.
func StartClient(ctx context.Context, binary string, args ...string) (*Client, error) {
	c := &Client{ctx: ctx, command: exec.CommandContext(ctx, binary, args...)}
	// Not nil, which would mean the environment of this process.
	c.command.Env = []string{}
	c.command.SysProcAttr = processAttributes()
	c.command.Stdout, c.command.Stderr = &c.stdout, &c.stderr
	if err := c.command.Start(); err != nil {
		return nil, fmt.Errorf("starting %q: %w", binary, err)
	}
	return c, nil
}

// Kill ends the client as a lost connection to its terminal would, and worse.
func (c *Client) Kill() error { return c.command.Process.Kill() }

// Wait returns what became of the client when it has ended. The error says why there is
// no exit code of its own: ctx has ended before it did.
func (c *Client) Wait() (Checked, error) {
	err := c.command.Wait()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && (!exited || c.ctx.Err() != nil) {
		return Checked{}, fmt.Errorf("running %q: %w", c.command.Path, errors.Join(err, c.ctx.Err()))
	}
	return Checked{ExitCode: c.command.ProcessState.ExitCode(), Stdout: c.stdout.String(), Stderr: c.stderr.String()}, nil
}

package agentrun

import (
	"context"

	"github.com/ebbtide/ebbtide/e2e/internal/programrun"
)

// Client is the agent's program while it asks a running agent something.
type Client = programrun.Client

// Drill lets the agent's program order a drill from the agent that listens on socket, as
// "kubectl exec" would. It starts no agent, whatever args say. The program is killed when
// ctx ends, and the caller calls Wait.
func Drill(ctx context.Context, binary, socket string, args ...string) (*Client, error) {
	return programrun.StartClient(ctx, binary, append([]string{"drill", "--socket", socket}, args...)...)
}

//go:build unix && !linux

package agentrun

import (
	"errors"
	"fmt"
)

// Memory is not known on this system: its figures would not compare with Linux'.
func (a *Agent) Memory() (Memory, error) {
	return Memory{}, fmt.Errorf("reading the agent's memory: %w", errors.ErrUnsupported)
}

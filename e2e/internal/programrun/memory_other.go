//go:build unix && !linux

package programrun

import (
	"errors"
	"fmt"
)

// Memory is not known on this system: its figures would not compare with Linux'.
func (p *Program) Memory() (Memory, error) {
	return Memory{}, fmt.Errorf("reading the memory of %s: %w", p.name, errors.ErrUnsupported)
}

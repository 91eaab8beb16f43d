package programrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Checked is what became of a program that was asked to check its configuration.
type Checked struct {
	ExitCode       int
	Stdout, Stderr string
}

const checkFlag = "check-config"

// Check lets a program read flags and file as it would at a start, and end. It does
// none of the program's work, so that args may say anything but that it should; env is
// the whole environment ("NODE_NAME=spot-1"). The error says why there is no exit code.
func Check(ctx context.Context, binary string, env []string, args ...string) (Checked, error) {
	for _, arg := range args {
		if strings.HasPrefix(strings.TrimLeft(arg, "-"), checkFlag) {
			return Checked{}, fmt.Errorf("checking options: %q is set here already", arg)
		}
	}
	command := exec.CommandContext(ctx, binary, append([]string{"--" + checkFlag}, args...)...)
	var stdout, stderr bytes.Buffer
	// Not nil, which would mean the environment of this process.
	command.Env = append([]string{}, env...)
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && (!exited || ctx.Err() != nil) {
		return Checked{}, fmt.Errorf("running %q: %w", binary, err)
	}
	return Checked{ExitCode: command.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}, nil
}

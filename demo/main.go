// Command demo shows Ebbtide at work on a machine that has Go and nothing else: a
// real Kubernetes control plane with simulated nodes, a fake EC2 metadata service, and
// the agent's real program. One spot node is told that it has forty seconds to live;
// what becomes of its pods is seen live, told in a table, and written to
// out/demo.json (see Result). It ends with exit code 0 only if no pod was lost.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// notice is what the doomed machine is given; EC2 gives two minutes.
const notice = 40 * time.Second

var resultPath = filepath.Join("out", "demo.json")

// Exit codes.
const (
	exitSaved       = 0
	exitLost        = 1 // also: the demo itself did not come to its end
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal cleans up; a second one does not wait for that.
	context.AfterFunc(ctx, stop)
	screen := newScreen(os.Stdout, isTerminal(os.Stdout) && os.Getenv("TERM") != "dumb", os.Getenv("NO_COLOR") == "")
	os.Exit(demonstrate(ctx, screen, os.Stderr))
}

// demonstrate runs the demo and returns its exit code.
func demonstrate(ctx context.Context, screen *screen, stderr io.Writer) int {
	began := time.Now()
	result, err := run(ctx, screen, notice)
	if err == nil {
		err = result.write(resultPath)
	}
	switch {
	case ctx.Err() != nil:
		_, _ = fmt.Fprintln(stderr, "demo: interrupted; nothing is left running")
		return exitInterrupted
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "demo:", err)
		return exitLost
	}
	result.print(screen)
	screen.line(faint, "The same as JSON is in %s. The demo took %d s.", resultPath, int(time.Since(began).Seconds()))
	if err := result.verdict(); err != nil {
		_, _ = fmt.Fprintln(stderr, "demo:", err)
		return exitLost
	}
	return exitSaved
}

// isTerminal says whether somebody may be looking: a pipe or a file is no device.
func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

var errNoReport = errors.New("the agent's report did not arrive")

package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Health gathers what the agent must be able to do and says which of it fails.
// A check that was registered and has not passed yet fails. It is safe for use
// by several goroutines.
type Health struct {
	// Log gets one line when a check begins to fail, fails differently, or
	// passes again.
	Log *slog.Logger

	mu     sync.Mutex
	checks map[string]*check
	beat   time.Time
}

type check struct {
	err    error
	logged string
	// within is how old the last success may be; zero is never too old.
	within time.Duration
	passed time.Time
}

var (
	// errPending is what a check says before it has run.
	errPending = errors.New("not checked yet")
	// errNotBegun is what is said before there is any check.
	errNotBegun = errors.New("the agent has not begun its checks")
)

// startCheck stands for all checks as long as none is registered.
const startCheck = "start"

// Expect registers a check that fails until it has passed. Where within is not
// zero, the check tolerates failures for so long after its last success.
func (h *Health) Expect(name string, within time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.checks == nil {
		h.checks = map[string]*check{}
	}
	h.checks[name] = &check{err: errPending, within: within, logged: errPending.Error()}
}

// Set records how the check called name came out at now; nil is a pass.
func (h *Health) Set(name string, err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.checks[name]
	c.err = err
	if err == nil {
		c.passed = now
	}
	failing := c.failing(now)
	switch text := reason(failing); {
	case failing == nil && c.logged != "":
		c.logged = ""
		h.Log.Info("Check passed", "check", name)
	case failing != nil && text != c.logged:
		c.logged = text
		h.Log.Error("Check failed", "check", name, "err", failing)
	}
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (c *check) failing(now time.Time) error {
	if c.within == 0 {
		return c.err
	}
	if !c.passed.IsZero() && now.Sub(c.passed) <= c.within {
		return nil
	}
	if c.err == nil {
		return fmt.Errorf("silent since %s", c.passed.UTC().Format(time.RFC3339))
	}
	return c.err
}

// Failing returns the checks that fail at now, by name; empty when the agent is
// ready.
func (h *Health) Failing(now time.Time) map[string]error {
	h.mu.Lock()
	defer h.mu.Unlock()
	failing := map[string]error{}
	if len(h.checks) == 0 {
		failing[startCheck] = errNotBegun
	}
	for name, c := range h.checks {
		if err := c.failing(now); err != nil {
			failing[name] = err
		}
	}
	return failing
}

// Describe returns the checks at now, a line each, as /readyz shows them.
func (h *Health) Describe(now time.Time) string {
	failing := h.Failing(now)
	h.mu.Lock()
	defer h.mu.Unlock()
	lines := make([]string, 0, len(h.checks)+1)
	for name, err := range failing {
		lines = append(lines, fmt.Sprintf("[-] %s: %v\n", name, err))
	}
	for name := range h.checks {
		if failing[name] == nil {
			lines = append(lines, fmt.Sprintf("[+] %s: ok\n", name))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// Beat notes that the agent's own loop turned at now.
func (h *Health) Beat(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.beat = now
}

// Beats says whether the loop has turned within the last minute; before its
// first turn it is given the benefit of the doubt.
func (h *Health) Beats(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.beat.IsZero() || now.Sub(h.beat) < time.Minute
}

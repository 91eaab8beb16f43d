package sourcetest

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/ebbtide/ebbtide/agent"
)

// Poll asks once, as the agent does, and fails the test on an error.
func Poll(t *testing.T, source agent.Source) []agent.Sighting {
	t.Helper()
	sightings, err := source.Poll(t.Context())
	if err != nil {
		t.Fatalf("Poll: %v", err)
	}
	return sightings
}

// Nowhere is a port of this machine at which nothing listens.
const Nowhere = "http://127.0.0.1:9"

// Main is the TestMain of a source's package. It runs every test in an environment that
// must make no difference, with a proxy at which nothing listens and with what environment
// holds, and wants no goroutine to be left. The environment is set here and not in a test
// because net/http reads the proxy once for the process.
func Main(m *testing.M, environment map[string]string) {
	if err := disturb(environment); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func disturb(environment map[string]string) error {
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		if err := os.Unsetenv(name); err != nil {
			return fmt.Errorf("unsetting %q: %w", name, err)
		}
	}
	for _, name := range []string{"HTTP_PROXY", "http_proxy"} {
		if err := os.Setenv(name, Nowhere); err != nil {
			return fmt.Errorf("setting %q: %w", name, err)
		}
	}
	for name, value := range environment {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("setting %q: %w", name, err)
		}
	}
	return nil
}

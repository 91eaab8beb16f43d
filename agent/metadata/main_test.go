package metadata_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// nowhere is a port of this machine at which nothing listens.
const nowhere = "http://127.0.0.1:9"

// TestMain runs every test with a proxy in the environment, which must make no
// difference. It is set here because net/http reads it once for the process.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy"} {
		if err := os.Setenv(name, nowhere); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		if err := os.Unsetenv(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

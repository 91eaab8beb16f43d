package gcp_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// nowhere is a port of this machine at which nothing listens.
const nowhere = "http://127.0.0.1:9"

// TestMain runs every test in the environment that must make no difference. It
// is set here and not in a test because net/http reads the proxy once for the
// process.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{
		"HTTP_PROXY": nowhere, "http_proxy": nowhere, "GCE_METADATA_HOST": "127.0.0.1:9",
	} {
		if err := os.Setenv(name, value); err != nil {
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

package gcp_test

import (
	"testing"

	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

// TestMain sets what Google's own libraries read, too.
func TestMain(m *testing.M) {
	sourcetest.Main(m, map[string]string{"GCE_METADATA_HOST": "127.0.0.1:9"})
}

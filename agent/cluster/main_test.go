package cluster

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// Nothing that a test of this package starts may outlive it; the shared lab is
// closed before the goroutines are counted.
func TestMain(m *testing.M) { goleak.VerifyTestMain(lab.Suite(m)) }

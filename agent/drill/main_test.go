package drill

import (
	"testing"

	"go.uber.org/goleak"
)

// Nothing that a test of this package starts may outlive it.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

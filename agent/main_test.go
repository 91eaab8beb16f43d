package agent

import (
	"testing"

	"go.uber.org/goleak"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// Nothing that a test of this package starts may outlive it.
func TestMain(m *testing.M) {
	// One of apimachinery's error handlers limits the rate of errors by sleeping
	// since the last one; the last one of a virtual clock may lie decades ahead.
	utilruntime.ErrorHandlers = nil
	goleak.VerifyTestMain(m)
}

package stamp_test

import (
	"testing"

	"go.uber.org/goleak"
)

// nowhere is a port of this machine at which nothing listens.
const nowhere = "http://127.0.0.1:9"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

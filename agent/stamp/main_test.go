package stamp_test

import (
	"testing"

	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

const nowhere = sourcetest.Nowhere

func TestMain(m *testing.M) { sourcetest.Main(m, nil) }

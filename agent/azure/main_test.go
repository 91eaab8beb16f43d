package azure_test

import (
	"testing"

	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

func TestMain(m *testing.M) { sourcetest.Main(m, nil) }

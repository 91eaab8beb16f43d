package programrun

import (
	"strings"
	"testing"
)

// Guard kills a program at the test's end, if it still runs then. A data race in the
// program fails the test, and a test that fails shows what the program wrote; who is
// what it is called there.
func Guard(t testing.TB, p *Program, who string) {
	t.Helper()
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		if strings.Contains(p.Output(), "WARNING: DATA RACE") {
			t.Errorf("%s has a data race", who)
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s", who, p.Output())
		}
	})
}

package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

func TestAMistakeInTheFlagsOfADrillIsOneLineAndExitTwo(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		args []string
		want string
	}{
		"a notice that no cloud gives":    {[]string{"--notice", "1s"}, "a notice of 1s is not between 10s and 10m0s"},
		"a notice that is no duration":    {[]string{"--notice", "soon"}, `invalid value "soon"`},
		"an unknown flag":                 {[]string{"--forec"}, "-forec"},
		"a word that is no flag":          {[]string{"now"}, `"now" is not a flag`},
		"a format that there is not":      {[]string{"-o", "yaml"}, `"yaml" is not one of text, json`},
		"an order to show the last drill": {[]string{"--attach", "--force"}, "--attach orders nothing"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := runDrill(t.Context(), c.args, &stdout, &stderr)
			if code != exitUsage || stdout.Len() > 0 || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), c.want) {
				t.Errorf("exit %d, %q on stdout, %q on stderr; want exit 2 and %q", code, stdout.String(), stderr.String(), c.want)
			}
		})
	}
}

func TestADrillWithoutAnAgentEndsWithExitOne(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	var stdout, stderr bytes.Buffer
	if code := runDrill(t.Context(), []string{"--socket", socket}, &stdout, &stderr); code != exitCouldNot || !strings.Contains(stderr.String(), socket) {
		t.Errorf("exit %d, %q; want exit 1 and the name of the socket", code, stderr.String())
	}
}

func TestTheHelpOfADrillNamesItsFlags(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if code := runDrill(t.Context(), []string{"--help"}, &stdout, &stderr); code != exitCompleted || strings.Contains(stdout.String(), "%!") {
		t.Errorf("exit %d:\n%s", code, stdout.String())
	}
	for _, flag := range []string{"--notice", "--force", "--dry-run", "--attach", "-o", "--socket"} {
		if !strings.Contains(stdout.String(), flag+" ") {
			t.Errorf("the help does not name %s", flag)
		}
	}
}

//go:build linux

package nodes

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// lay lays files out as an installed package does.
func lay(t *testing.T, root string, mode os.FileMode, paths ...string) {
	t.Helper()
	for _, path := range paths {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMissingPackagesAreThoseWithoutTheirPrograms(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		files      []string
		mode       os.FileMode
		notMissing string
		missing    string
	}{
		"Nothing is there":                                  {nil, 0o755, "", "runc"},
		"A program on the PATH":                             {[]string{"/custom/bin/runc"}, 0o755, "runc", "buildah"},
		"A program in the administrator's folder":           {[]string{"/usr/sbin/runc"}, 0o755, "runc", "buildah"},
		"A program that is not on the PATH":                 {[]string{"/home/bin/runc"}, 0o755, "", "runc"},
		"A file that is no program":                         {[]string{"/custom/bin/runc"}, 0o644, "", "runc"},
		"One of two programs":                               {[]string{"/custom/bin/prometheus"}, 0o755, "", "prometheus"},
		"Both of two programs":                              {[]string{"/custom/bin/prometheus", "/custom/bin/promtool"}, 0o755, "prometheus", "buildah"},
		"Plugins where Debian puts them":                    {[]string{"/usr/lib/cni/bridge"}, 0o755, "containernetworking-plugins", "runc"},
		"Plugins where others put them":                     {[]string{"/opt/cni/bin/bridge"}, 0o755, "containernetworking-plugins", "runc"},
		"Another program of the name of a plugin, the PATH": {[]string{"/custom/bin/bridge"}, 0o755, "", "containernetworking-plugins"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			lay(t, root, test.mode, test.files...)
			got := missing(root, "/custom/bin"+administrators)
			if slices.Contains(got, test.notMissing) || !slices.Contains(got, test.missing) {
				t.Errorf("missing %q, want %q among them and %q not", got, test.missing, test.notMissing)
			}
		})
	}
}

func TestServicesStayDownWhilePackagesAreInstalled(t *testing.T) {
	t.Parallel()
	const foreign = "#!/bin/sh\nexit 0\n"
	tests := map[string]struct {
		before          string // empty: no policy
		during, finally string
	}{
		"No policy is there":            {"", policy, ""},
		"A policy of somebody else's":   {foreign, foreign, foreign},
		"A policy of a run that failed": {policy, policy, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "policy-rc.d")
			if test.before != "" {
				if err := os.WriteFile(path, []byte(test.before), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			allow, err := keepServicesDown(path)
			if err != nil {
				t.Fatal(err)
			}
			if during, err := os.ReadFile(path); err != nil || string(during) != test.during {
				t.Errorf("policy = %q, %v, want %q", during, err, test.during)
			}
			allow()
			finally, err := os.ReadFile(path)
			if string(finally) != test.finally || (err == nil) != (test.finally != "") {
				t.Errorf("policy at the end = %q, %v, want %q", finally, err, test.finally)
			}
		})
	}
}

func TestWhatIsMissingIsSaidOnOneLine(t *testing.T) {
	t.Parallel()
	err := require(t.Context(), "/nowhere", false, os.Stderr)
	if len(missing("/", "/nowhere")) == 0 {
		if err != nil {
			t.Errorf("nothing is missing: %v", err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), installVariable) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error = %v, want one line that names the packages and %s", err, installVariable)
	}
}

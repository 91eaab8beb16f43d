package metadata_test

import (
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

func TestCheckEndpoint(t *testing.T) {
	t.Parallel()
	const such = "http://192.0.2.1"
	tests := map[string]struct {
		endpoint string
		ok       bool
	}{
		"an address is fine":                   {such, true},
		"a port is fine":                       {"http://127.0.0.1:1338", true},
		"a slash at the end is fine":           {"http://127.0.0.1:1338/", true},
		"an IPv6 address is fine":              {"http://[2001:db8::1]:80", true},
		"a name is fine":                       {"http://metadata.test", true},
		"nothing is refused":                   {"", false},
		"an address without scheme is":         {"127.0.0.1:1338", false},
		"a path without host is":               {"/latest", false},
		"a scheme without host is":             {"http://", false},
		"a port without host is":               {"http://:1338", false},
		"https is":                             {"https://127.0.0.1", false},
		"a path is, as it would be dropped":    {"http://127.0.0.1/latest", false},
		"a query is, as it would be dropped":   {"http://127.0.0.1?x=1", false},
		"a lone question mark is":              {"http://127.0.0.1?", false},
		"a fragment is":                        {"http://127.0.0.1#x", false},
		"a user is":                            {"http://me@127.0.0.1", false},
		"a line break is":                      {"http://127.0.0.1\n", false},
		"a port that is none is":               {"http://127.0.0.1:http", false},
		"a space in the host is":               {"http://127.0.0.1 x", false},
		"an opaque URL, which has no host, is": {"http:127.0.0.1", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := metadata.CheckEndpoint(tc.endpoint, such)
			if (err == nil) != tc.ok {
				t.Errorf("CheckEndpoint(%q) = %v", tc.endpoint, err)
			}
			if err != nil && (strings.ContainsRune(err.Error(), '\n') || !strings.Contains(err.Error(), such)) {
				t.Errorf("the error is %q, want one line with an example", err)
			}
		})
	}
}

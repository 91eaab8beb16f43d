package settings

import (
	"testing"
	"time"
)

func TestAProblemIsNamedWithWhatWouldBeNone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ got, want string }{
		"a choice that there is":        {Choice("b", []string{"a", "b"}), ""},
		"a choice that there is not":    {Choice("c", []string{"a", "b"}), `"c" is not one of a, b`},
		"no choice yet":                 {Choice("b", []string{"a"}), `"b" is not a, the only choice yet`},
		"the least":                     {Range(1, 1, 3), ""},
		"the most":                      {Range(3, 1, 3), ""},
		"less than the least":           {Range(0, 1, 3), "0 is not between 1 and 3"},
		"more than the most":            {Range(2*time.Minute, 0, time.Minute), "2m0s is not between 0s and 1m0s"},
		"a port on every address":       {Listen(":1", ":9"), ""},
		"any free port on one address":  {Listen("[::1]:0", ":9"), ""},
		"a host without port":           {Listen("localhost", ":9"), `"localhost" is not an address to listen on, such as :9 or 127.0.0.1:9`},
		"a port by its name":            {Listen(":http", ":9"), `":http" is not an address to listen on, such as :9 or 127.0.0.1:9`},
		"a port beyond the last":        {Listen(":65536", ":9"), `":65536" is not an address to listen on, such as :9 or 127.0.0.1:9`},
		"nothing":                       {Listen("", ":9"), `"" is not an address to listen on, such as :9 or 127.0.0.1:9`},
		"a mistake that stands nowhere": {Mistake{Field: "name", Problem: "is missing"}.String(), "name: is missing"},
		"a mistake of no field":         {Mistake{Place: "--config", Problem: "names no file"}.String(), "--config: names no file"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", name, c.got, c.want)
		}
	}
}

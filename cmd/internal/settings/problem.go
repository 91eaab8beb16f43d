package settings

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Choice says what is wrong with a value of a closed set, which must not be empty. It
// returns "" for one of the choices.
func Choice(value string, choices []string) string {
	if slices.Contains(choices, value) {
		return ""
	}
	if len(choices) == 1 {
		return fmt.Sprintf("%q is not %s, the only choice yet", value, choices[0])
	}
	return fmt.Sprintf("%q is not one of %s", value, strings.Join(choices, ", "))
}

// Range says what is wrong with a value that has to be from least to most. It returns
// "" for one that is.
func Range[T int | time.Duration](value, least, most T) string {
	if least <= value && value <= most {
		return ""
	}
	return fmt.Sprintf("%v is not between %v and %v", value, least, most)
}

// Listen says what is wrong with an address to listen on: a host, which may be empty,
// and the number of a port. It returns "" for one that is good. The example is a good
// one without a host, such as ":9808".
func Listen(address, example string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil || !isPort(port) {
		return fmt.Sprintf("%q is not an address to listen on, such as %[2]s or 127.0.0.1%[2]s", address, example)
	}
	return ""
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

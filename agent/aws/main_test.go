package aws_test

import (
	"testing"

	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

const nowhere = sourcetest.Nowhere

// TestMain sets what the SDK reads of its own accord, too.
func TestMain(m *testing.M) {
	sourcetest.Main(m, map[string]string{
		"AWS_EC2_METADATA_DISABLED":              "true",
		"AWS_EC2_METADATA_V1_DISABLED":           "true",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT":      nowhere,
		"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6",
		"AWS_MAX_ATTEMPTS":                       "9",
	})
}

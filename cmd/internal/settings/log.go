package settings

// Log says how a program logs.
type Log struct {
	// Level is one of LogLevels, Format one of LogFormats.
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// The values that the fields of a Log may have.
var (
	LogLevels  = []string{"debug", "info", "warn", "error"}
	LogFormats = []string{"json", "text"}
)

// Command fakestamp serves the fake of Alibaba Cloud's and Tencent Cloud's metadata
// service of package stamptest, for trying the agent by hand.
package main

import (
	"flag"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest/program"
	"github.com/ebbtide/ebbtide/agent/stamp/stamptest"
)

const usage = `fakestamp serves a fake of the metadata service of Alibaba Cloud, or of Tencent
Cloud, until it is interrupted, and then says what it was asked for.

A termination whose notice comes after half a minute:

    go run ./agent/stamp/stamptest/fakestamp --cloud tencent --interrupt-after 30s --control 127.0.0.1:1339

While it runs, change the weather:

    curl -X PUT http://127.0.0.1:1339/fault/unreadable-time
    curl -X POST http://127.0.0.1:1339/take-back
    curl http://127.0.0.1:1339/

Faults of tokens are Alibaba Cloud's alone, and on Tencent Cloud an empty body
blinds.
`

func main() { fake.Main() }

var fake = program.Program{
	Name: "fakestamp", Usage: usage, Faults: stamptest.Faults(stamptest.Alibaba), Control: stamptest.ControlHelp, Flags: flags,
}

// flags adds what is the two clouds' own.
func flags(flags *flag.FlagSet) program.Own {
	cloud := flags.String("cloud", string(stamptest.Alibaba), "whose service it is: alibaba or tencent")
	after := flags.Duration("interrupt-after", -1, "let a notice come after this `duration`; without it none comes")
	notice := flags.Duration("notice", 0, "how long before the termination the notice comes; 0 is what the cloud documents")
	takeBack := flags.Duration("take-back-after", 0, "let the notice vanish this `duration` after it came; 0 lets it stay")
	return program.Own{Start: func(l program.Listen) (program.Service, error) {
		s, err := stamptest.Start(stamptest.Options{
			Cloud: stamptest.Cloud(*cloud), Listen: l.Address, KeepAlive: l.KeepAlive, Trace: l.Trace,
		})
		if err != nil {
			return nil, err
		}
		if *after >= 0 {
			s.InterruptAfter(*after, *notice)
			if *takeBack > 0 {
				s.TakeBackAfter(*after + *takeBack)
			}
		}
		return s, nil
	}}
}

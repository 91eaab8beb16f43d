// Command fakeimds serves the fake of the Compute Engine metadata server of
// package gcptest, for trying the agent by hand.
package main

import (
	"flag"
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/agent/gcp/gcptest"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest/program"
)

const usage = `fakeimds serves a fake of Compute Engine's metadata server until it is interrupted,
and then says what it was asked for.

A preemption that comes after half a minute, of an instance with an extended notice:

    go run ./agent/gcp/gcptest/fakeimds --preempt-after 30s --extended-notice 120s --control 127.0.0.1:1339

While it runs, change the weather:

    curl -X POST 'http://127.0.0.1:1339/maintain?action=MIGRATE'
    curl -X PUT http://127.0.0.1:1339/fault/hidden-keys
    curl http://127.0.0.1:1339/
`

func main() { fake.Main() }

var fake = program.Program{
	Name: "fakeimds", Usage: usage, Faults: gcptest.Faults(), Control: gcptest.ControlHelp, Flags: flags,
}

// flags adds what is Google's own.
func flags(flags *flag.FlagSet) program.Own {
	preempt := flags.Duration("preempt-after", -1, "let a preemption begin after this `duration`; without it none does")
	extended := flags.Duration("extended-notice", 0, "what the scheduling options say of an extended notice; nothing when 0")
	maintain := flags.Duration("maintain-after", -1, "announce host maintenance after this `duration`; without it there is none")
	action := flags.String("action", "TERMINATE", "what host maintenance does: TERMINATE or MIGRATE")
	return program.Own{Start: func(l program.Listen) (program.Service, error) {
		s, err := gcptest.Start(gcptest.Options{Listen: l.Address, KeepAlive: l.KeepAlive, Trace: l.Trace})
		if err != nil {
			return nil, err
		}
		if *extended > 0 {
			s.SetKey("scheduling/", fmt.Sprintf(`{"onHostMaintenance":%q,"preemptible":"TRUE","preemptionNoticeDuration":{"seconds":"%d"}}`,
				*action, *extended/time.Second))
		}
		if *preempt >= 0 {
			s.Preempt(*preempt)
		}
		if *maintain >= 0 {
			s.Maintain(*maintain, *action)
		}
		return s, nil
	}}
}

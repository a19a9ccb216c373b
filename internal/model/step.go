package model

import "fmt"

// step is something that happens.
type step struct {
	kind stepKind
	who  uint8 // the process
	arg  uint8
	then uint8 // what happens to the store right after it
}

const (
	thenUnsynced = iota + 1
	thenLoss
)

type stepKind uint8

const (
	stepTime stepKind = iota
	stepBegin
	stepBeginLost
	stepIntend
	stepSend
	stepGiveUp
	stepPostpone
	stepRequestLost
	stepArrives
	stepReplyLost
	stepKeep
	stepCommit
	stepConclude
	stepInstallAlternate
	stepCrash
	stepAdopt
	stepInherit
	stepOrphan
	stepTakeOver
	stepRestore
	stepAdvance
	stepNoteLogin
	stepNoteLogout
	stepChange
)

// words tells what the step is, for a person who reads a trace.
func (st step) words() string {
	switch st.then {
	case thenUnsynced:
		return st.what() + "; from here on the store loses what it acknowledges"
	case thenLoss:
		return st.what() + "; THE STORE FALLS BACK"
	}
	return st.what()
}

func (st step) what() string {
	who := string('A' + rune(st.who))
	switch st.kind {
	case stepTime:
		return "time passes: it is now " + momentWords(st.arg)
	case stepBegin:
		return who + " begins an attempt"
	case stepBeginLost:
		return who + " begins an attempt, and the answer is lost"
	case stepIntend:
		return who + " journals its intent"
	case stepSend:
		return who + " sends the request"
	case stepGiveUp:
		return who + " is too late to send, and closes the attempt"
	case stepPostpone:
		return who + " puts the recovery off, its moment has passed"
	case stepRequestLost:
		return who + "'s request is lost on its way"
	case stepArrives:
		return who + "'s request is answered by the provider"
	case stepReplyLost:
		return "the reply to " + who + " is lost"
	case stepKeep:
		return who + " journals the token that it received"
	case stepCommit:
		return who + " stores the token"
	case stepConclude:
		return who + " stores how the attempt ended"
	case stepInstallAlternate:
		return who + " installs the token that waits as an alternate"
	case stepCrash:
		if st.arg > 0 {
			return who + " is killed, its request arrives, and it is started again"
		}
		return who + " is killed and started again"
	case stepAdopt:
		return fmt.Sprintf("%s takes up journal %d and puts back the tokens in it", who, st.arg+1)
	case stepInherit:
		return fmt.Sprintf("%s settles what the owner of journal %d left open", who, st.arg+1)
	case stepOrphan:
		return who + " settles an attempt in its name that it does not hold"
	case stepTakeOver:
		return who + " takes an attempt over from an owner who only is slow"
	case stepRestore:
		if st.arg > 0 {
			return who + " waits no longer, and puts back what it knows into the store's new run"
		}
		return who + " puts back what it knows into the store's new run"
	case stepAdvance:
		return who + " stores that the access token has expired"
	case stepNoteLogin:
		return who + " journals a login"
	case stepNoteLogout:
		return who + " journals a logout"
	case stepChange:
		return who + " stores what the owner did"
	}
	return "unknown"
}

func momentWords(i uint8) string {
	switch i {
	case fresh:
		return "fresh"
	case due:
		return "due"
	case inGrace:
		return "a minute later, inside the grace"
	case outside:
		return "past the grace"
	case last:
		return "the last minute of the access token"
	case expired:
		return "after the access token's end"
	default:
		return fmt.Sprintf("later (%d)", i-expired)
	}
}

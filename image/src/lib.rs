//! Builds the VM image: a current Debian, `agentd`, its unit and its kernel settings. Empty until
//! Engineer reaches Compute Engine.

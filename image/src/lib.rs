//! Builds the VM image: a current Debian, `agentd`, its unit and its kernel settings. `files/` has
//! what it installs, and `README.md` says what each is for; the rest is empty until Engineer reaches
//! Compute Engine.

use super::*;

#[test]
fn command_and_args_combine_as_kubernetes_says() {
    let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let image = ProcessConfig { entrypoint: words(&["e"]), cmd: words(&["c"]), ..Default::default() };
    let of = |run: &[&str], args: &[&str]| {
        let config = v1::ContainerConfig { command: words(run), args: words(args), ..Default::default() };
        command(&config, &image).unwrap().join(" ")
    };
    assert_eq!(of(&[], &[]), "e c");
    assert_eq!(of(&[], &["a"]), "e a");
    assert_eq!(of(&["r"], &[]), "r");
    assert_eq!(of(&["r"], &["a"]), "r a");
    let error = command(&v1::ContainerConfig::default(), &ProcessConfig::default()).unwrap_err();
    assert!(error.to_string().contains("no command specified"));
}
